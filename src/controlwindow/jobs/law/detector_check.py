"""The coherence detector held against labelled texts of the behaviors' own prompts, on which it was not set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from controlwindow.behaviors import Behavior, ScoredText, build_controls, coherence_features
from controlwindow.behaviors.controls import SHORTEST_PARTIAL, Control, spliced
from controlwindow.errors import BehaviorError
from controlwindow.instruments.routes import Row
from controlwindow.instruments.rows import roll_out_rows
from controlwindow.instruments.scoring import token_nll
from controlwindow.jobs.law.session import LawSession
from controlwindow.measuring.answers import partners
from controlwindow.statistics import area_under_roc, stable_seed, wilson_interval

PROMPTS = 16
"""Prompts of the select split that controls are made from."""

_ROC_POINTS = 25


def check_detector(session: LawSession, behavior: Behavior) -> dict[str, Any]:
    """Judge labelled controls made from a behavior's select prompts.

    Coherent: the greedy answer, one sampled at temperature 1, the answer to another prompt (`swapped`), the greedy one
    cut in half (`truncated`), and the answer to the prompt's counterpart of X−, which is what a clean switch says
    (`switched`). Collapsed: shuffled, looping, word salad, spans of two answers in turn (`spliced`), their late forms,
    and spans of the answer and its counterpart's in turn (`mixed`, in a bilingual behavior two languages).

    Args:
        session: The model at work.
        behavior: The behavior.

    Returns:
        Agreement with its 95 % Wilson interval, shares by kind, ROC over the severity, and the thresholds; no controls
        where there are too few prompts, or where answers are too short to make controls of both kinds.
    """
    horizon, detector = behavior.horizons[-1], session.engine.detector
    assert detector is not None
    prompts = list(behavior.prompts("select"))[:PROMPTS]
    if len(prompts) < 2:
        return {"controls": 0}
    mates = _counterparts(behavior, len(prompts))
    texts = [prompt.text for prompt in (*prompts, *mates)]
    ids = [tuple(found) for found in session.model.token_ids(texts)]
    rows = [Row(found, ()) for found in ids]
    greedy = [_content(session, row.token_ids) for row in roll_out_rows(session.model, rows, horizon)]
    sampled = roll_out_rows(session.model, rows[: len(prompts)], horizon, sample_seed=session.plan.sizes.seed + 1)
    own, others = greedy[: len(prompts)], greedy[len(prompts) :]
    controls = [
        *build_controls(own, [_content(session, row.token_ids) for row in sampled], [horizon], seed=1),
        *_further(own, others, horizon),
    ]
    labels = np.array([c.collapsed for c in controls])
    if labels.all() or not labels.any():
        # Answers of a few tokens leave no control of one kind; then nothing can be told apart.
        return {"controls": 0}
    surprisals = token_nll(session.model, [ids[c.prompt] for c in controls], [c.token_ids for c in controls])
    scored = [
        ScoredText(tuple(c.token_ids), tuple(s), session.model.decode(c.token_ids))
        for c, s in zip(controls, surprisals, strict=True)
    ]
    reference = {c.prompt: t for c, t in zip(controls, scored, strict=True) if c.kind == "greedy"}
    judged = [
        detector.judge_features(coherence_features(text, reference[c.prompt], detector.scale))
        for c, text in zip(controls, scored, strict=True)
    ]
    severity = np.array([j.severity for j in judged])
    verdicts = np.array([j.collapsed for j in judged])
    right = int((labels == verdicts).sum())
    return {
        "horizon": horizon,
        "prompts": len(prompts),
        "controls": len(controls),
        "agreement": right / len(controls),
        "agreement_interval": list(wilson_interval(right, len(controls))),
        "auc": area_under_roc(severity[~labels], severity[labels]),
        "roc": _roc(severity, labels),
        "false_positive_rate": float(verdicts[~labels].mean()),
        "true_positive_rate": float(verdicts[labels].mean()),
        "kinds": [
            {
                "kind": kind,
                "label": "collapsed" if labels[places[0]] else "coherent",
                "n": len(places),
                "collapsed": int(verdicts[places].sum()),
            }
            for kind in dict.fromkeys(c.kind for c in controls)
            if (places := [i for i, c in enumerate(controls) if c.kind == kind])
        ],
        "thresholds": asdict(detector),
    }


def _counterparts(behavior: Behavior, count: int) -> list[Any]:
    try:
        contrast = behavior.contrast("select")
    except BehaviorError:
        return []
    return partners(contrast.positive[:count], contrast.negative)


def _further(own: Sequence[tuple[int, ...]], others: Sequence[tuple[int, ...]], horizon: int) -> list[Control]:
    """Truncated answers, and where there are counterparts, switched and mixed ones."""
    controls = []
    for prompt, answer in enumerate(own):
        if len(answer) >= SHORTEST_PARTIAL:
            controls.append(Control("truncated", False, prompt, horizon, tuple(answer[: len(answer) // 2])))
    for prompt, (answer, other) in enumerate(zip(own, others, strict=False)):
        if not other or answer == other:
            continue
        controls.append(Control("switched", False, prompt, horizon, tuple(other)))
        shared = sum(one == two for one, two in zip(answer, other, strict=False)) / max(1, len(answer))
        if len(answer) >= SHORTEST_PARTIAL and shared < 0.5:
            random = np.random.default_rng(stable_seed("mixed", prompt, horizon))
            controls.append(Control("mixed", True, prompt, horizon, tuple(spliced(answer, other, random))))
    return controls


def _roc(severity: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> list[list[float]]:
    """(severity, false positive rate, true positive rate), thresholds moved together."""
    finite = severity[np.isfinite(severity)]
    cuts = np.unique(np.append(np.quantile(finite, np.linspace(0, 1, _ROC_POINTS)), 1.0))
    return [
        [float(cut), float((severity[~labels] >= cut).mean()), float((severity[labels] >= cut).mean())] for cut in cuts
    ]


def _content(session: LawSession, tokens: Sequence[int]) -> tuple[int, ...]:
    return tuple(t for t in tokens if t not in session.model.stop_ids)
