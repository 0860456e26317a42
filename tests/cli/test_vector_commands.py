"""`units`, and `audit --vector`, as commands."""

from __future__ import annotations

import numpy as np
import pytest

import controlwindow as cw
from controlwindow.cli import measuring, vectors


@pytest.fixture
def vector(tmp_path):
    np.save(tmp_path / "v.npy", np.ones(128))
    return f"{tmp_path}/v.npy:3"


def test_units_are_printed_for_every_coefficient(command, vector, monkeypatch):
    def units(model, held, coefficient, progress):
        assert (model.name, held.values.sum(), held.layer) == ("organism:switch", 128, 3)
        values = {"norm": 11.3, "residual_norm": 22.6, "budget": 2.0, "c0": 0.0, "c": 0.4472136}
        values |= {"t": abs(coefficient) / 2, "ceiling_interval": (0.7, None), "in_sample": True}
        return cw.VectorUnits(
            held.name, held.layer, coefficient, -1 if coefficient < 0 else 1, **values, ceiling=0.8,
            ceiling_coefficient=2.667, predictor="p",
        )  # fmt: skip

    monkeypatch.setattr(vectors, "units_of", units)
    given = ["units", "organism:switch", "--vector", vector, "--coefficient", "1", "--coefficient", "-2"]
    found = command(*given, "--json")
    assert found.code == 0
    assert [(row["coefficient"], row["branch"], row["t"], row["c"]) for row in found.json()] == [
        (1.0, 1, 0.5, 0.447214), (-2.0, -1, 1.0, 0.447214),
    ]  # fmt: skip
    printed = " ".join(command(*given).out.split())
    assert "v@3: norm 11.3, residual 22.6, budget 2" in printed
    assert "coefficient -2: t 1.00, c 0.45; predicted ceiling 0.80 [0.70, –], at coefficient 2.67" in printed.replace(
        "−", "-"
    )


def test_an_audit_of_vectors_is_of_no_neuron_and_files_are_read_first(command, vector, tmp_path, monkeypatch):
    asked = []

    def measured(model, behaviors, given, directory, **options):
        asked.append((behaviors, [v.name for v in given], directory))

    monkeypatch.setattr(measuring, "audit_vectors", measured)
    monkeypatch.setattr(measuring, "show_run", lambda *given, **options: None)
    given = ["audit", "organism:switch", "-b", "language", "--vector", vector, "--out", tmp_path / "run"]
    assert command(*given).code == 0
    assert asked == [(["language"], ["v@3"], tmp_path / "run")]
    both = command(*given, "--neuron", "L3.N7")
    assert (both.code, "runs of their own" in both.err) == (2, True)
    missing = command("audit", "organism:no-such", "-b", "language", "--vector", "none.npy:3")
    assert (missing.code, "no vector file at" in missing.err) == (2, True)
