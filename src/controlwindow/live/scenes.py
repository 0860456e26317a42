"""What a page shows before anything is generated, as plain values: behaviors, neurons, curves, thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from controlwindow import geometry
from controlwindow.behaviors import Behavior
from controlwindow.curves import Curve
from controlwindow.instruments.generic import GenericPass
from controlwindow.models import Model, Neuron
from controlwindow.models.chat import transcript
from controlwindow.values import round_floats
from controlwindow.windows.atlas import predict_ceilings

_POINTS = 97
"""Points of a drawn curve, the undosed one among them."""

_WINDOW_KEYS = (
    "candidate_from", "verdict", "verdict_probability", "decided", "failure_mode", "trigger", "trigger_interval",
    "ceiling", "ceiling_interval", "height", "n_eligible",
)  # fmt: skip
_DOSE_KEYS = ("t", "c", "c_measured", "c_measured_interval", "n", "collapsed", "shares")


def predicted_handles(model: Model, generic: GenericPass, neurons: Sequence[Neuron]) -> list[dict[str, Any]]:
    """Both branches of neurons with what is predicted of them; no text was generated for it.

    Raises:
        NeuronError: A neuron lies outside the model, or has no budget.
    """
    if not neurons:
        return []
    for neuron in neurons:
        generic.budget(model, neuron)
    rows = {(r["neuron"], r["branch"]): r for r in predict_ceilings(model, neurons, generic=generic).to_dicts()}
    return [
        {
            **_handle(neuron, branch, generic.curve(model, neuron, branch)),
            "predicted": row["ceiling_predicted"],
            "predicted_interval": [row["ceiling_low"], row["ceiling_high"]],
            "reachable": row["reachable"],
            "behavior": None,
            "window": None,
        }
        for neuron in neurons
        for branch in (1, -1)
        for row in (rows[str(neuron), branch],)
    ]


def measured_handle(window: Mapping[str, Any], curve: Curve) -> dict[str, Any]:
    """A window of a run: what was predicted before its first rollout, and what was measured."""
    return {
        **_handle(Neuron.parse(window["neuron"]), window["branch"], curve),
        "predicted": window["ceiling_predicted"],
        "predicted_interval": window["ceiling_predicted_interval"],
        "reachable": window["ceiling_reachable"],
        "behavior": window["behavior"],
        "window": {
            **{key: window[key] for key in _WINDOW_KEYS},
            "doses": [{key: dose[key] for key in _DOSE_KEYS} for dose in window["doses"]],
        },
    }


def _handle(neuron: Neuron, branch: int, curve: Curve) -> dict[str, Any]:
    # As far as searches go: c = 0.98 on a plain curve, as far as the same dose brings a capped one.
    end = curve.dose(geometry.RANGE_END) if curve.plateau is None else geometry.dose_for(geometry.RANGE_END)
    # Doses that lie evenly in c, so that the drawn curve is smooth where it is steep.
    evenly = np.linspace(0.0, geometry.control_coordinate(end), _POINTS).tolist()
    points = [[t, curve.coordinate(t)] for t in map(geometry.dose_for, evenly)]
    return {
        "neuron": str(neuron),
        "branch": branch,
        "layer": neuron.layer,
        "c0": curve.cosine,
        "limit": max(c for _, c in points),
        "plateau": curve.plateau,
        "curve": points,
    }


def behavior_scene(behavior: Behavior) -> dict[str, Any]:
    """A behavior with its evaluation prompts as a reader sees them, and what part each outcome plays."""
    return {
        "name": behavior.name,
        "description": behavior.description,
        "sensitive": behavior.sensitive,
        "horizons": list(behavior.horizons),
        "positions": behavior.positions,
        "outcomes": outcome_roles(behavior.outcomes, behavior.source_outcome, behavior.target_outcomes),
        "prompts": [{"id": p.id, "text": transcript(p.text)} for p in behavior.prompts("evaluate")],
    }


def outcome_roles(outcomes: Sequence[str], source: str, targets: frozenset[str]) -> dict[str, str]:
    """Part of each outcome, from the bottom of a stack to its top: targets, source, others, collapsed.

    Example:
        >>> outcome_roles(("unswitched", "switched", "other", "collapsed"), "unswitched", frozenset({"switched"}))
        {'switched': 'target', 'unswitched': 'source', 'other': 'other', 'collapsed': 'collapsed'}
    """
    first = [name for name in outcomes if name in targets]
    rest = [name for name in outcomes if name not in {source, "collapsed", *targets}]
    roles = {name: "target" if place == 0 else "target-2" for place, name in enumerate(first)}
    roles[source] = "source"
    roles |= {name: "other" if place == 0 else "other-2" for place, name in enumerate(rest)}
    return roles | ({"collapsed": "collapsed"} if "collapsed" in outcomes else {})


def scene(
    model: Model,
    run: str | None,
    behaviors: Sequence[Behavior],
    handles: Sequence[Mapping[str, Any]],
    ordinary: Sequence[str],
    withheld: int,
    tokens: int,
) -> dict[str, Any]:
    """The whole document of a page, floats rounded.

    Args:
        model: The model.
        run: The run's name; None without one.
        behaviors: Those that are shown.
        handles: Neurons and branches.
        ordinary: Ordinary prompts.
        withheld: How many sensitive behaviors are not shown.
        tokens: Longest answer in tokens, as a beginning.
    """
    found: dict[str, Any] = round_floats(
        {
            "model": {
                "name": model.name,
                "layers": model.layers,
                "neurons": len(model.neurons),
                "organism": model.organism is not None,
                "chat": model.chat.template is not None,
            },
            "run": run,
            "behaviors": [behavior_scene(behavior) for behavior in behaviors],
            "handles": [dict(handle) for handle in handles],
            "prompts": [transcript(text) for text in ordinary],
            "withheld": withheld,
            "tokens": tokens,
        }
    )
    return found
