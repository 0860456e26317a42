"""One small probe of a tiny model, shared by the tests of circuits and their reports."""

from __future__ import annotations

import pytest

import controlwindow as cw
import tiny_models
from controlwindow.circuits.result import ProbeResult
from controlwindow.models import Model
from controlwindow.runs import session
from small_probe import DETECTOR, small_behavior


@pytest.fixture(scope="session")
def model() -> Model:
    return tiny_models.llama()


@pytest.fixture
def untrained(monkeypatch) -> None:
    monkeypatch.setattr(session, "set_detector", lambda *_: DETECTOR)


@pytest.fixture(scope="session")
def probed(model) -> ProbeResult:
    """One probe in memory."""
    patch = pytest.MonkeyPatch()
    patch.setattr(session, "set_detector", lambda *_: DETECTOR)
    try:
        return cw.probe(model, small_behavior(), sizes=[1, 2, 4])
    finally:
        patch.undo()
