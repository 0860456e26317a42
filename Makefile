# `make audit` and `make test` need Python 3.11+, make and git; everything else goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOWEST := .venv-lowest
LOWEST_STAMP := $(LOWEST)/.installed
BRIDGES := .venv-bridges
BRIDGES_STAMP := $(BRIDGES)/.installed

REAL := .real/smollm2-135m-instruct.gguf

.PHONY: audit audit-real test test-real docs wheel torture test-lowest test-bridges format benchmark clean

audit: $(STAMP)
	$(BIN)/controlwindow audit organism:switch

# A small audit of a real chat model of 135M parameters, brought out of a Python package (98 MB).
audit-real: $(STAMP) $(REAL)
	$(BIN)/controlwindow audit $(REAL) --behavior chat_list --budget 8m

# The same model in the tests: tokens, formats of the checkpoint, and a window against plain generation.
test-real: $(STAMP) $(REAL)
	CONTROLWINDOW_REAL=$(REAL) $(BIN)/pytest tests/real

$(REAL): examples/real/fetch.py
	$(BIN)/python examples/real/fetch.py $(REAL)

test: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadgroup

# The guide as a site to read from a folder: site/index.html. The tests build it too.
docs: $(STAMP)
	$(BIN)/mkdocs build --strict

# The wheel and the source archive of a release, checked and tried in an empty environment.
wheel:
	PYTHON=$(PYTHON) .ci/wheel

# Kills, damaged files and hostile ones, many of each; the figures go to docs/results/torture.json. KILLS=0 leaves a part out;
# GO_ON=--go-on goes on with a run that was cut off.
KILLS ?= 1000
BEHAVIORS ?= 2000
LEDGERS ?= 200
HOSTILE ?= 500
SOAK ?= 60
torture: $(STAMP)
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m torture --write $(GO_ON) \
	  --kills $(KILLS) --behaviors $(BEHAVIORS) --ledgers $(LEDGERS) --hostile $(HOSTILE) --soak $(SOAK)

# What touches Transformers, on the lowest version that pyproject.toml allows.
test-lowest: $(LOWEST_STAMP)
	$(LOWEST)/bin/pytest -n 2 --dist loadgroup tests/models tests/instruments

# What runs inside Inspect AI and lm-eval; they bring some sixty packages, so `make test` does without them.
test-bridges: $(BRIDGES_STAMP)
	$(BRIDGES)/bin/pytest -n 2 tests/bridges

# Each peer gets an environment of its own under benchmarks/.environments; for options: .venv/bin/python -m benchmarks --help
benchmark: $(STAMP)
	$(BIN)/python -m benchmarks

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

$(LOWEST_STAMP): pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --upgrade pip
	$(LOWEST)/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable '.[dev]'
	@touch $(LOWEST_STAMP)

$(BRIDGES_STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(BRIDGES)
	$(BRIDGES)/bin/python -m pip install --quiet --upgrade pip
	$(BRIDGES)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,inspect,lm-eval]'
	@touch $(BRIDGES_STAMP)

clean:
	rm -rf $(VENV) $(LOWEST) $(BRIDGES) build dist site .mypy_cache .ruff_cache .pytest_cache
