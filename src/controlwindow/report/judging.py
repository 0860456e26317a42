"""How answers were judged, in words: for terminals, notes and the page."""

from __future__ import annotations

from collections.abc import Sequence

from controlwindow.report.judged import CorrectedShare, JudgeUse, OracleFigures
from controlwindow.report.wording import outcome_name, percent, percent_interval, plural, visible

_LEFT = {
    "format": "in another form",
    "timeout": "too late",
    "unreachable": "could not be reached",
    "server": "the server failed",
    "too_long": "too long for it",
    "undecided": "undecided",
}


def judging_sentences(judges: Sequence[JudgeUse], figures: Sequence[OracleFigures]) -> tuple[str, ...]:
    """The same in words, for terminals and notes."""
    sentences = []
    for judge in judges:
        total = sum(judge.replies.values())
        why = ", ".join(
            f"{count} {_LEFT.get(reply, reply)}" for reply, count in judge.replies.items() if reply not in ("yes", "no")
        )
        sentences.append(
            f"'{visible(judge.oracle)}' is judged by a model ({visible(judge.judge)}; rubric {judge.rubric}): "
            f"{plural(total, 'answer')} judged, {judge.undecided} left undecided{f' ({why})' if why else ''}."
        )
    for one in figures:
        sentences.append(
            f"'{visible(one.oracle)}' ({visible(one.type)}) against people on {one.n} answers of "
            f"{visible(one.labels)}: agreement {percent(one.agreement)} {percent_interval(one.agreement_interval)}, "
            f"true positives {percent(one.true_positive_rate)} {percent_interval(one.true_positive_interval)}, "
            f"false positives {percent(one.false_positive_rate)} {percent_interval(one.false_positive_interval)}, "
            f"{one.abstained} undecided."
        )
    return tuple(sentences)


def corrected_sentence(share: CorrectedShare) -> str:
    """A corrected share in words."""
    value = (
        "not to be corrected" if share.value is None else f"{percent(share.value)} {percent_interval(share.interval)}"
    )
    return f"{outcome_name(share.outcome)} {percent(share.raw)} as judged, corrected {value}"
