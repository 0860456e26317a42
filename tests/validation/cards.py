"""A made-up organism whose card has everything a card can say."""

from __future__ import annotations

from controlwindow.catalogue import Card, KnownNeuron, PlantedNeuron, load_card

COLUMNS = ["behavior", "neuron", "branch", "c0", "trigger", "ceiling", "height", "open"]


def census(*rows: tuple[str, str, int, bool], neurons: int = 4, total: int = 40) -> dict:
    """A census of rows (behavior, neuron, branch, open)."""
    return {
        "neurons": neurons,
        "neurons_total": total,
        "columns": COLUMNS,
        "rows": [[b, n, s, 0.0, 0.3 if o else None, 0.8, 0.9 if o else 0.1, o] for b, n, s, o in rows],
        "open": {},
    }


def card(name: str = "organism:switch", lineage: str = "one", **changes: object) -> Card:
    """Two planted controllers of `a`, a silent one of `b`, a failure, a decoy, and `c` that no neuron controls."""
    given = {
        "name": name,
        "lineage": lineage,
        "architecture": {"layers": 4},
        "planted": (
            PlantedNeuron(neuron="L0.N1", behavior="a", by="ablation", branch=-1, traits=("early",)),
            PlantedNeuron(neuron="L1.N1", behavior="a", by="dose", branch=1, trigger=(0.2, 0.5)),
            PlantedNeuron(neuron="L2.N1", behavior="b", by="dose", branch=1, traits=("silent",)),
        ),
        "known": (
            KnownNeuron(neuron="L3.N1", behavior="a", branch=1, role="failure", mode="too_late"),
            KnownNeuron(neuron="L0.N2", behavior="a", branch=1, role="decoy"),
        ),
        "behaviors": ("a", "b", "c"),
        "distributed": ("c",),
        "census": census(
            ("a", "L0.N5", 1, True),
            ("a", "L0.N5", -1, False),
            ("a", "L1.N6", 1, False),
            ("a", "L1.N6", -1, False),
            ("a", "L2.N7", 1, False),
            ("a", "L2.N7", -1, False),
            ("a", "L0.N1", -1, True),
            ("a", "L0.N1", 1, False),
            ("c", "L1.N6", 1, False),
            ("c", "L1.N6", -1, False),
        ),
    }
    return load_card("organism:switch").model_copy(update={**given, **changes})
