"""What a circuit's results come to, in sentences, the same on the page and in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controlwindow.report.pages.circuit.figures import ARM_NAMES
from controlwindow.report.wording import MINUS, number, percent, percent_interval, visible

LEVEL = 0.05
"""Holm-corrected p below which a difference from a control is called one."""


def strength(factor: float) -> str:
    """A multiplier as it is written.

    Example:
        >>> strength(0.0), strength(-0.5)
        ('m = 0', 'm = −0.5')
    """
    return f"m = {factor:g}".replace("-", MINUS)


def share(found: Mapping[str, Any]) -> str:
    """A share with its interval."""
    return f"{percent(found['value'])} {percent_interval(tuple(found['interval']))}"


def figure(found: Mapping[str, Any], digits: int = 2) -> str:
    """A number with its interval."""
    low, high = found["interval"]
    return f"{number(found['value'], digits)} [{number(low, digits)}, {number(high, digits)}]"


def probability(p: float) -> str:
    """A p-value.

    Example:
        >>> probability(0.0002), probability(0.2)
        ('<0.001', '0.200')
    """
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def entry(document: Mapping[str, Any], arm: str, factor: float) -> Mapping[str, Any] | None:
    """The ladder's entry of an arm at a strength, None where it was not measured."""
    return next((e for e in document["ladder"] if e["arm"] == arm and e["factor"] == factor), None)


def headline(document: Mapping[str, Any]) -> str:
    """What the circuit does at the strength looked into."""
    factor = document["choice"]["factor"]
    found = entry(document, "circuit", factor)
    assert found is not None
    size = len(document["circuit"])
    # Where neurons are withheld so is how many: with the screen it would name them.
    which = f"{size} of {document['neurons_total']:,} neurons" if size else "the circuit’s neurons"
    return (
        f"Multiplying {which} by {strength(factor).removeprefix('m = ')} flips {share(found['flip'])} of {found['n']} "
        f"eligible prompts coherently; {share(found['coherent'])} of the rollouts stay coherent."
    )


def against_controls(document: Mapping[str, Any]) -> list[str]:
    """Whether the circuit does more than each control at the strength looked into, sentence by sentence."""
    factor, sentences = document["choice"]["factor"], []
    for test in document["tests"]:
        if test["factor"] != factor:
            continue
        control = entry(document, test["against"], factor)
        assert control is not None
        words = _compared(test)
        sentences.append(
            f"{words} {ARM_NAMES[test['against']]} ({share(control['flip'])} flips, {test['seeds_below']} of "
            f"{test['seeds']} draws below; difference {figure({**test, 'value': test['difference']})}, "
            f"p {probability(test['p_holm'])} after Holm over {test['candidates']} strengths)"
        )
    return sentences


def _compared(test: Mapping[str, Any]) -> str:
    """What a difference from a control says; one that is clear the other way is said to be."""
    if test["p_holm"] >= LEVEL:
        return "is not shown to do more than"
    if test["difference"] < 0:
        return "does less than"
    if test["seeds_below"] < test["seeds"]:
        return "does more than most draws, but not all, of"
    return "does more than"


def cost(document: Mapping[str, Any]) -> str:
    """What is left of capability and task quality at the strength looked into."""
    found = entry(document, "circuit", document["choice"]["factor"])
    assert found is not None
    retained, quality = found["retention"], found["quality"]
    text = (
        f"Undosed answers to {retained['texts']} generic prompts keep {share(retained['agreement'])} of their "
        f"likeliest tokens and {share(retained['first_agrees'])} of their first; their perplexity is "
        f"{figure(retained['perplexity_ratio'])} times what it was."
    )
    if quality is not None:
        text += (
            f" Answered anew, {share(quality['same'])} are word for word the same and {share(quality['coherent'])} "
            f"coherent, at {figure(quality['excess'])} nats per token above the undosed answers."
        )
    return text


def direct(document: Mapping[str, Any]) -> str:
    """How much of the effect is left with attention held; empty where it was not measured."""
    found = next((e for e in document["effects"] if e["arm"] == "circuit"), None)
    if found is None or found["held"] is None:
        return ""
    part = found["direct_share"]
    return (
        f"The log-odds of a target answer move by {figure(found['shift'])} nats, by {figure(found['held'])} with "
        f"attention outputs held as they were{'' if part is None else f' ({percent(part)} of it)'}."
    )


def against_base(document: Mapping[str, Any]) -> list[str]:
    """Base against aligned, sentence by sentence."""
    base = document["base"]
    if base is None:
        return []
    shared = base["overlap"]
    sentences = []
    if shared is not None:
        chance = {"value": shared["chance"], "interval": shared["chance_interval"]}
        sentences.append(
            f"{shared['shared']} of {shared['size']} neurons are also in the base model's circuit "
            f"({share({'value': shared['share'], 'interval': shared['interval']})}; circuits drawn at random with the "
            f"same layers share {share(chance)}, p {probability(shared['p'])})."
        )
    if base["detection_difference"] is not None and document["detection"] is not None:
        here, there = document["detection"]["arms"][0], base["detection"]["arms"][0]
        sentences.append(
            "The circuit's neurons tell X+ from X− with a mean area under the curve of "
            f"{figure({'value': there['area'], **_interval(there)})} in the base model and "
            f"{figure({'value': here['area'], **_interval(here)})} here (difference "
            f"{figure(base['detection_difference'])})."
        )
    aligned, other = (base["changed"][kind][0]["changed"] for kind in ("aligned", "base"))
    sentences.append(
        f"The same change gives {share(aligned)} of the prompts another coherent outcome here and {share(other)} in "
        f"the base model (difference {figure(base['changed']['difference'])})."
    )
    sentences.append(_gate(document))
    return sentences


def _gate(document: Mapping[str, Any]) -> str:
    """What the two comparisons say of the claim that base models detect and alignment makes a gate of it (CNA)."""
    base = document["base"]
    difference = base["changed"]["difference"]
    detects = base["detection"] is not None and _detects(base["detection"]["arms"])
    gates = difference["p"] < LEVEL and difference["value"] > 0
    if detects and gates:
        return "So the base model holds the discrimination, and only here does it gate the behavior."
    if gates:
        return "The circuit gates the behavior only here; that the base model holds the discrimination is not shown."
    return "That alignment made a gate of what the base model already tells apart is not shown."


def _detects(arms: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the circuit tells the contrast apart better than chance and than random neurons, which do so as well."""
    circuit, *others = arms
    return bool(circuit["interval"][0] > max([0.5, *(arm["interval"][1] for arm in others)]))


def _interval(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"interval": found["interval"]}


def marks(document: Mapping[str, Any]) -> list[str]:
    """What must stand beside the numbers: controls that are missing, samples that are small, splits that are shared."""
    found = [visible(document["mark"])] if document["mark"] else []
    if document["detection"] is not None and document["detection"]["in_sample"]:
        found.append("Detection is in sample: only the find split has a contrast.")
    if document["base_note"]:
        found.append(f"Not compared with the base model: {visible(document['base_note'])}.")
    if document["choice"]["from"] not in ("select", "given"):
        found.append(f"The strength is {document['choice']['from']}.")
    return found
