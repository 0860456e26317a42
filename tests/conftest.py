"""Shared set-up: one thread, reproducible property tests, tiny models of both families."""

from __future__ import annotations

import os

# Nothing in the tests may reach for a network; Transformers reads this when it is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
# What an earlier run computed must not be what is tested.
os.environ["CONTROLWINDOW_CACHE"] = "off"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

import tiny_models
from controlwindow.models import Model

torch.set_num_threads(1)
settings.register_profile("controlwindow", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("controlwindow")

STORIES = Path(__file__).resolve().parents[2] / "shared" / "data" / "models" / "stories260K"


@pytest.fixture(scope="session")
def llama() -> Model:
    """A random Llama with grouped-query attention and untied embeddings; tests leave it as it is."""
    return tiny_models.llama()


@pytest.fixture(scope="session")
def gpt2() -> Model:
    """A random GPT-2 with tied embeddings and biases; tests leave it as it is."""
    return tiny_models.gpt2()


@pytest.fixture(scope="session", params=["llama", "gpt2"])
def tiny(request: pytest.FixtureRequest) -> Model:
    """Each of the two random models in turn."""
    model: Model = request.getfixturevalue(request.param)
    return model


@pytest.fixture(scope="session")
def stories() -> Model:
    """A real pretrained checkpoint, where the development data is at hand."""
    if not STORIES.is_dir():
        pytest.skip("the public checkpoint stories260K is not at hand in ../shared/data")
    from controlwindow import load_model

    return load_model(STORIES, device="cpu")


@pytest.fixture
def untouched() -> Iterator[list[Model]]:
    """Models put into this list must come out of the test without a hook and with the weights they had."""
    watched: list[Model] = []
    yield watched
    for model in watched:
        assert tiny_models.hook_count(model) == 0


_DEAR = frozenset({"run_directory", "live_run", "probed"})
"""Fixtures of the whole session that take seconds to make."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share something dear in one worker, so that it is made once (`--dist loadgroup`)."""
    for item in items:
        manager = item.session._fixturemanager
        names = list(getattr(item, "fixturenames", ()))
        dear = sorted(_DEAR.intersection(names))
        found = [manager.getfixturedefs(name, item) for name in names]
        if dear:
            item.add_marker(pytest.mark.xdist_group(dear[0]))
        elif any(defined and defined[-1].scope == "module" for defined in found):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
