# `make audit` and `make test` need Python 3.11+, make and git; everything else goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOWEST := .venv-lowest
LOWEST_STAMP := $(LOWEST)/.installed

.PHONY: audit test docs wheel torture test-lowest format benchmark clean

audit: $(STAMP)
	$(BIN)/controlwindow audit organism:switch

test: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2

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
torture: $(STAMP)
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m torture --write $(GO_ON) \
	  --kills $(KILLS) --behaviors $(BEHAVIORS) --ledgers $(LEDGERS) --hostile $(HOSTILE)

# What touches Transformers, on the lowest version that pyproject.toml allows.
test-lowest: $(LOWEST_STAMP)
	$(LOWEST)/bin/pytest -n 2 tests/models tests/instruments

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

clean:
	rm -rf $(VENV) $(LOWEST) build dist site .mypy_cache .ruff_cache .pytest_cache
