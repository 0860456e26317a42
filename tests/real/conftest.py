"""A real chat model, where its file is at hand: `make test-real` brings it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from controlwindow.models import Model, load_model


@pytest.fixture(scope="session")
def gguf_file() -> Path:
    named = os.environ.get("CONTROLWINDOW_REAL", "")
    if not named:
        pytest.skip("CONTROLWINDOW_REAL names no GGUF file of a real chat model; `make test-real` brings one")
    path = Path(named)
    assert path.is_file(), f"CONTROLWINDOW_REAL names {path}, which is no file"
    return path


@pytest.fixture(scope="session")
def real(gguf_file: Path) -> Model:
    """The real model; tests leave it as it is."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return load_model(gguf_file, device="cpu")
