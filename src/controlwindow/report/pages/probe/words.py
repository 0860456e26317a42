"""What a probe's numbers say in words, the same on the page, in figures and in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlwindow.report.wording import number, percent, plural
from controlwindow.secrecy import WITHHELD

NAMES = {
    "ablate": "ablate",
    "amplify": "amplify",
    "patch": "patch",
    "inject_objective": "inject d_F",
    "inject_mean_difference": "inject mean difference",
}
UNCONTROLLED = "†"
"""Mark of a line that lacks a control."""

_KINDS = {
    "opposition": "an opposition circuit: ablating it flips the behavior, injecting does not",
    "routing": "a routing circuit: injecting a direction flips the behavior, ablating the top neurons does not",
    "mixed": "a mixed circuit: ablating it and injecting a direction both flip the behavior",
    "neither": "neither opposition nor routing: nothing flips the behavior more than its controls do",
}


def headline(document: Mapping[str, Any]) -> str:
    """The verdict in one sentence."""
    verdict, predicted = document["verdict"], document["ratio"]["predicted"]
    on = "generated text" if verdict["measured_on"] == "generated" else "F alone"
    against = f", although the FFN-to-skip ratio predicted {predicted}" if verdict["ratio_agrees"] is False else ""
    return f"{_KINDS[verdict['kind']]} (judged on {on}){against}"


def floor(document: Mapping[str, Any]) -> str:
    """What the fewest pairs allow: the smallest p that sign flips can give; empty where it is small enough to say more.

    Of n differences that all point one way, 2 of the 2ⁿ flips of signs are as far from 0.
    """
    said = []
    for what, noun, key in (("F", "pair", "effects"), ("generated text", "prompt", "rollouts")):
        tested = [line for line in document[key] if line["p"] is not None]
        if not tested:
            continue
        least = min(1.0, len(tested) * 2.0 ** (1 - tested[0]["n"]))
        if least >= 0.05:
            said.append(
                f"With {plural(tested[0]['n'], noun)} no p on {what} can lie below {number(least, 3)} after Holm over "
                f"{plural(len(tested), 'line')}, however clear the effect: that is their floor, not a finding."
            )
    return " ".join(said)


def reach(document: Mapping[str, Any]) -> str:
    """How often the intervention that flips most does so, and what else becomes of the text; empty without rollouts.

    A verdict compares with controls, so it may rest on few flips amid collapsed text: that must stand beside it.
    """
    lines = document["rollouts"]
    if not lines:
        return ""
    most = max(lines, key=lambda line: line["flips"])
    low, high = most["interval"]
    name, chosen = NAMES[most["setting"]["intervention"]], setting(most["setting"])
    where = "" if chosen == WITHHELD else f" ({chosen})"
    return (
        f"{name[0].upper()}{name[1:]}{where} flips most: {percent(most['flips'])} "
        f"[{percent(low)}, {percent(high)}] of {plural(most['n'], 'eligible prompt')} coherently, while "
        f"{percent(1 - most['coherent'])} of its rollouts collapse."
    )


def prediction(document: Mapping[str, Any]) -> str:
    """What the FFN-to-skip ratio predicted, and whether it was right."""
    ratio, verdict = document["ratio"], document["verdict"]
    low, high = ratio["interval"]
    agreed = {
        True: "the interventions agree",
        False: f"the interventions say {verdict['kind']}",
        None: f"not tested by a verdict of {verdict['kind']}"
        if ratio["predicted"] != "undecided"
        else "which predicts nothing",
    }[verdict["ratio_agrees"]]
    works = "works" if verdict["injection_moves"] else "does not work"
    expected = "within" if ratio["injection_predicted"] else "outside"
    right = "as that predicts" if verdict["injection_agrees"] else "against what that predicts"
    return (
        f"FFN-to-skip ratio {number(ratio['ratio'])} [{number(low)}, {number(high)}], n = {ratio['n']} pairs: "
        f"{ratio['predicted']} (probability {number(ratio['probability'])}), {agreed}. It lies {expected} 0.3–1.1, "
        f"the stated condition for injection, and injection {works}, {right}."
    )


def shape(document: Mapping[str, Any]) -> str:
    """The topology in words."""
    found = document["topology"]
    kind = found["kind"] if found["kind"] != "neither" else "neither concentrated nor shielded"
    text = (
        f"{kind[0].upper()}{kind[1:]}: {plural(found['half'], 'neuron')} of {found['neurons']:,} hold half of Σ|I|, as "
        f"if spread evenly over {number(found['effective'], 0)}."
    )
    if found["compensated"] is None:
        if document.get("withheld"):
            return text
        return text + " Ablating the circuit has no direct effect on F to be compensated."
    low, high = found["compensated_interval"]
    if found["compensated"] < 0:
        return text + (
            f" Later layers add to the direct effect of ablating the largest circuit "
            f"({number(-found['compensated'])} of it [{number(_minus(high))}, {number(_minus(low))}])."
        )
    return text + (
        f" Later layers take back {number(found['compensated'])} [{number(low)}, {number(high)}] of the direct effect "
        "of ablating the largest circuit."
    )


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def agreement(document: Mapping[str, Any]) -> str:
    """Σ I with ΔF, and F with generated text."""
    sums, gap = document["sums"], document["gap"]
    if sums["correlation"] is None:
        first = "Σ I or ΔF is the same for every pair, so they have no correlation."
    else:
        low, high = sums["interval"]
        first = (
            f"Σ I and the measured ΔF correlate at {number(sums['correlation'])} [{number(low)}, {number(high)}] over "
            f"{len(sums['pairs'])} pairs; the perturbation flips {sums['flipped']} of them."
        )
    low, high = gap["interval"]
    what = "The first-token gap" if gap["first_tokens"] else "F"
    return first + (
        f" {what} names the side of the generated text on {gap['agree']} of {gap['n']} prompts "
        f"[{percent(low)}, {percent(high)}]; always naming the more frequent side would reach "
        f"{percent(gap['majority'])}."
    )


def budget(document: Mapping[str, Any]) -> str:
    """How many passes were planned and taken."""
    passes = document["passes"]
    return (
        f"{passes['total']:,} passes and {passes['rollouts']:,} rollouts at most, stated before it began; "
        f"{document['passes_taken']:,} passes taken."
    )


def setting(found: Mapping[str, Any]) -> str:
    """One setting in words, without the intervention's name."""
    if found["size"] is None:
        return WITHHELD
    if found["layer"] >= 0:
        return f"layer {found['layer']}, {number(found['strength'])} ‖r‖"
    size = f"k = {found['size']}"
    return f"×{found['factor']:g}, {size}" if found["intervention"] == "amplify" else size


def bounds(interval: Any, digits: int = 2) -> str:
    """An interval, empty where there is none."""
    return "" if interval is None else f"[{number(interval[0], digits)}, {number(interval[1], digits)}]"


def signed(value: float | None) -> str:
    """A shift with its sign."""
    if value is None:
        return "–"
    return f"+{number(value)}" if value >= 0.005 else number(value)


def probability(value: float | None) -> str:
    """A p value to three digits.

    Example:
        >>> probability(0.00004), probability(0.1234), probability(None)
        ('<0.001', '0.123', '–')
    """
    if value is None:
        return "–"
    return "<0.001" if value < 0.001 else number(value, 3)
