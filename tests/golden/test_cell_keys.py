"""Keys of cells are what ledgers hold: they stay letter for letter, wherever the classes lie."""

from __future__ import annotations

import pytest

from controlwindow.instruments.cells import (
    ActivationCell,
    DosedCell,
    GradientCell,
    PerturbationCell,
    PinCell,
    PropagationCell,
    ReadoutCell,
    ReferenceCell,
    RolloutCell,
    cell_from_key,
    cell_key,
)
from controlwindow.instruments.circuit_cells import (
    DirectionCell,
    DirectionEffectCell,
    DirectionsCell,
    ImportanceCell,
    SetCell,
    SetEffectCell,
)
from controlwindow.instruments.control_cells import (
    AnswerCell,
    DetectionCell,
    MoveCell,
    OrdinaryCell,
    PushCell,
    RetentionCell,
)
from controlwindow.instruments.intervention_cells import AreaCell, CapabilityCell, InterventionCell

KEYS = [
    (RolloutCell("b", "evaluate", horizon=16),
     '["RolloutCell",{"alpha":0.0,"behavior":"b","branch":1,"horizon":16,"neuron":null,"positions":"all","prompts":[],"sample_seed":null,"split":"evaluate","t":0.0}]'),
    (RolloutCell("b", "evaluate", "L1.N2", -1, 0.5, -1.25, "generated", 32, ("p1", "p2"), 3),
     '["RolloutCell",{"alpha":-1.25,"behavior":"b","branch":-1,"horizon":32,"neuron":"L1.N2","positions":"generated","prompts":["p1","p2"],"sample_seed":3,"split":"evaluate","t":0.5}]'),
    (RolloutCell("b", "evaluate", "L1.N2", 1, 0.5, 1.25, site="residual", precision="float32", role="negative"),
     '["RolloutCell",{"alpha":1.25,"behavior":"b","branch":1,"horizon":32,"neuron":"L1.N2","positions":"all","precision":"float32","prompts":[],"role":"negative","sample_seed":null,"site":"residual","split":"evaluate","t":0.5}]'),
    (PropagationCell("b", "evaluate", "L1.N2", 1, 0.5, 1.25, "all", ("p1",)),
     '["PropagationCell",{"alpha":1.25,"behavior":"b","branch":1,"neuron":"L1.N2","positions":"all","prompts":["p1"],"split":"evaluate","t":0.5}]'),
    (ActivationCell("b", "find"),
     '["ActivationCell",{"behavior":"b","split":"find"}]'),
    (ReadoutCell("b", "find"),
     '["ReadoutCell",{"behavior":"b","split":"find"}]'),
    (GradientCell("b", "find"),
     '["GradientCell",{"behavior":"b","paired":false,"split":"find"}]'),
    (GradientCell("b", "find", paired=True),
     '["GradientCell",{"behavior":"b","paired":true,"split":"find"}]'),
    (PerturbationCell("b", "find"),
     '["PerturbationCell",{"behavior":"b","split":"find"}]'),
    (ReferenceCell("b", "find"),
     '["ReferenceCell",{"behavior":"b","split":"find"}]'),
    (DosedCell("b", "find", 3, 0.3, "all", 0, 2, 1),
     '["DosedCell",{"behavior":"b","columns":[],"coordinate":0.3,"first":0,"generic":1,"layer":3,"positions":"all","prompts":2,"split":"find"}]'),
    (DosedCell("b", "find", 3, 0.3, "all", 0, 2, 1, (4, 7)),
     '["DosedCell",{"behavior":"b","columns":[4,7],"coordinate":0.3,"first":0,"generic":1,"layer":3,"positions":"all","prompts":2,"split":"find"}]'),
    (PinCell("b", "select", "L1.N2", -2.5, 16, ("p1",)),
     '["PinCell",{"behavior":"b","horizon":16,"neuron":"L1.N2","prompts":["p1"],"split":"select","value":-2.5}]'),
    (SetCell("b", "evaluate", ("L1.N2", "L0.N1"), 0.5, "all", 16, ("p1",), 1),
     '["SetCell",{"behavior":"b","factor":0.5,"horizon":16,"neurons":["L1.N2","L0.N1"],"positions":"all","prompts":["p1"],"sample_seed":1,"split":"evaluate"}]'),
    (DirectionCell("b", "evaluate", "objective", 2, 0.5),
     '["DirectionCell",{"behavior":"b","direction":"objective","found_on":"find","horizon":32,"layer":2,"positions":"all","prompts":[],"sample_seed":null,"seed":0,"source":"","split":"evaluate","strength":0.5}]'),
    (DirectionCell("b", "evaluate", "random", 2, 0.5, "find", "c", 3, "generated", 16, ("p1",), 4),
     '["DirectionCell",{"behavior":"b","direction":"random","found_on":"find","horizon":16,"layer":2,"positions":"generated","prompts":["p1"],"sample_seed":4,"seed":3,"source":"c","split":"evaluate","strength":0.5}]'),
    (SetEffectCell("b", "find", ("L1.N2",), (1,), "patch", 0.0, "all", ("p1",)),
     '["SetEffectCell",{"behavior":"b","factor":0.0,"neurons":["L1.N2"],"operation":"patch","pairs":["p1"],"positions":"all","sizes":[1],"split":"find"}]'),
    (DirectionEffectCell("b", "find", "mean_difference", 2, (0.5, 1.0)),
     '["DirectionEffectCell",{"behavior":"b","direction":"mean_difference","found_on":"find","layer":2,"pairs":[],"positions":"all","seed":0,"source":"","split":"find","strengths":[0.5,1.0]}]'),
    (DirectionsCell("b", "find"),
     '["DirectionsCell",{"behavior":"b","split":"find"}]'),
    (ImportanceCell("b", "find", (1, 2), 3, ("p1",)),
     '["ImportanceCell",{"behavior":"b","ladder":[1,2],"pairs":["p1"],"seed":3,"split":"find"}]'),
    (PushCell("b", "evaluate", ("L1.N2",), 0.0, (1,), (2.5,), 3, "all", 16, ("p1",)),
     '["PushCell",{"behavior":"b","factor":0.0,"horizon":16,"layers":[1],"neurons":["L1.N2"],"positions":"all","prompts":["p1"],"seed":3,"sizes":[2.5],"split":"evaluate"}]'),
    (MoveCell("b", "evaluate", ("L1.N2",), 0.0),
     '["MoveCell",{"behavior":"b","factor":0.0,"layers":[],"neurons":["L1.N2"],"positions":"all","prompts":[],"seed":0,"sizes":[],"split":"evaluate"}]'),
    (AnswerCell("b", "evaluate", ("L1.N2",), 0.0, hold_attention=True),
     '["AnswerCell",{"behavior":"b","factor":0.0,"hold_attention":true,"layers":[],"neurons":["L1.N2"],"positions":"all","prompts":[],"seed":0,"sizes":[],"split":"evaluate"}]'),
    (RetentionCell("b", "evaluate", ("L1.N2",), 0.0),
     '["RetentionCell",{"behavior":"b","factor":0.0,"layers":[],"neurons":["L1.N2"],"positions":"all","seed":0,"sizes":[],"split":"evaluate"}]'),
    (OrdinaryCell("b", "evaluate", ("L1.N2",), 0.0, horizon=8),
     '["OrdinaryCell",{"behavior":"b","factor":0.0,"horizon":8,"layers":[],"neurons":["L1.N2"],"positions":"all","seed":0,"sizes":[],"split":"evaluate"}]'),
    (DetectionCell("b", "find", ("L1.N2",)),
     '["DetectionCell",{"behavior":"b","neurons":["L1.N2"],"split":"find"}]'),
    (InterventionCell("b", "evaluate", "anchor", 1.5, "L1.N2", None, 0.5, 2, 3),
     '["InterventionCell",{"behavior":"b","gap":0.5,"horizon":32,"layer":null,"method":"anchor","multiple":2,"neuron":"L1.N2","positions":"all","prompts":[],"source":"","split":"evaluate","strength":1.5,"suffix":3}]'),
    (InterventionCell("b", "evaluate", "mean_difference", 1.5, layer=2, source="c", role="negative"),
     '["InterventionCell",{"behavior":"b","gap":0.0,"horizon":32,"layer":2,"method":"mean_difference","multiple":1,"neuron":null,"positions":"all","prompts":[],"role":"negative","source":"c","split":"evaluate","strength":1.5,"suffix":1}]'),
    (CapabilityCell("b", "evaluate", "pin", 1.5, "L1.N2"),
     '["CapabilityCell",{"behavior":"b","gap":0.0,"layer":null,"method":"pin","multiple":1,"neuron":"L1.N2","positions":"all","source":"","split":"evaluate","strength":1.5,"suffix":1}]'),
    (AreaCell("b", "evaluate"),
     '["AreaCell",{"behavior":"b","split":"evaluate"}]'),
]  # fmt: skip


@pytest.mark.parametrize(("cell", "key"), KEYS)
def test_a_cell_keeps_its_key(cell, key):
    assert cell_key(cell) == key
    assert cell_from_key(key) == cell
