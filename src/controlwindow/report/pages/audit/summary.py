"""What the windows say together: their order, the headline of a behavior, the error of the predicted ceilings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from controlwindow.report.pages.audit.coverage import OpenRate, ScreenKnown, known_sentence
from controlwindow.report.pages.audit.document import BehaviorSummary, Predictions, ReportDocument, WindowResult
from controlwindow.report.wording import (
    REASONS,
    branch_sign,
    coordinate,
    interval,
    plural,
    rate_interval,
)

_REASON_ORDER = {reason: position for position, reason in enumerate(REASONS)}


def ranked(windows: Iterable[WindowResult]) -> tuple[WindowResult, ...]:
    """Open windows first (decided, then lowest trigger), then closed ones by reason and ceiling."""

    def key(window: WindowResult) -> tuple[object, ...]:
        return (
            window.verdict != "open",
            not window.decided if window.verdict == "open" else window.decided,
            _REASON_ORDER.get(window.failure_mode or "", len(_REASON_ORDER)),
            window.trigger if window.trigger is not None else 2.0,
            window.ceiling if window.ceiling is not None else 2.0,
            window.neuron,
            -window.branch,
        )

    return tuple(sorted(windows, key=key))


def windows_of(document: ReportDocument, behavior: str) -> tuple[WindowResult, ...]:
    """A behavior's windows in reading order."""
    return ranked(window for window in document.windows if window.behavior == behavior)


def tested_neurons(windows: Iterable[WindowResult]) -> int:
    """Distinct neurons among the windows."""
    return len({window.neuron for window in windows})


class Headline(NamedTuple):
    """One behavior's result in words.

    Attributes:
        sentence: "2 of 14 tested neurons open a control window."
        findings: One line per open window, at most `limit` of them.
        rest: How many open windows are not listed.
    """

    sentence: str
    findings: tuple[str, ...]
    rest: int


def headline(windows: Sequence[WindowResult], known: ScreenKnown | None = None, limit: int = 3) -> Headline:
    """Say what was found for one behavior.

    Args:
        windows: The behavior's windows in reading order.
        known: What the screen is known to bring, where one chose candidates and it may be named.
        limit: Most open windows to spell out.
    """
    tested = tested_neurons(windows)
    opened = [window for window in windows if window.verdict == "open"]
    neurons = tested_neurons(opened)
    if not windows:
        sentence = "No neuron was tested."
    elif not opened:
        sentence = f"None of {plural(tested, 'tested neuron')} opens a control window. "
        sentence += f"Closed among those tested{'' if known is None else f'; {known_sentence(known)}'}."
    else:
        verb = "opens" if neurons == 1 else "open"
        sentence = f"{neurons} of {plural(tested, 'tested neuron')} {verb} a control window."
    return Headline(sentence, tuple(_finding(window) for window in opened[:limit]), max(0, len(opened) - limit))


def _finding(window: WindowResult) -> str:
    where = f"{window.neuron} ({window.region} layers)" if window.withheld else window.neuron
    parts = [
        f"{where}, branch {branch_sign(window.branch)}",
        f"trigger c {coordinate(window.trigger)} {interval(window.trigger_interval)}".rstrip(),
        f"ceiling {coordinate(window.ceiling)} {interval(window.ceiling_interval)}".rstrip(),
    ]
    if window.height is not None:
        parts.append(f"at best {window.height:.0%} of rollouts flip coherently")
    if not window.decided:
        parts.append("undecided")
    return ", ".join(parts)


class PredictorError(NamedTuple):
    """A ceiling predictor against the measured ceilings of this run; errors are in c, None without a pair."""

    name: str
    pairs: int
    mean_absolute: float | None
    bias: float | None


def predictor_errors(document: ReportDocument) -> tuple[PredictorError, ...]:
    """Error of each predictor over the distinct neurons and branches whose ceiling was reached.

    A neuron measured for two behaviors has a ceiling on each one's prompts; both count.
    """
    rows = []
    for name in document.predictions.names:
        differences = [
            predicted - window.ceiling
            for window in document.windows
            if window.ceiling is not None and (predicted := window.predictions.get(name)) is not None
        ]
        pairs = len(differences)
        rows.append(
            PredictorError(
                name,
                pairs,
                sum(abs(d) for d in differences) / pairs if pairs else None,
                sum(differences) / pairs if pairs else None,
            )
        )
    return tuple(rows)


def coverage_sentences(document: ReportDocument, behavior: BehaviorSummary) -> tuple[str, ...]:
    """What the tested neurons do and do not show about the untested ones, for one behavior."""
    coverage = document.coverage
    tested = tested_neurons(window for window in document.windows if window.behavior == behavior.name)
    total = coverage.neurons_total
    sentences = [
        f"{tested:,} of {total:,} neurons were tested for this behavior ({_percent(tested, total)}).",
        _not_shown(document, behavior),
    ]
    for row in coverage.screen_recall:
        if row.behavior == behavior.name:
            left = total - row.of
            of = f"{row.of:,}" if left <= 0 else f"{row.of:,} ({plural(left, 'neuron')} left out of the ranking)"
            place = "was left out of the ranking" if row.rank is None else f"ranks {row.rank:,} of {of}"
            sentences.append(f"The {row.screen} screen's recall: planted {row.planted} {place}.")
    if coverage.screen_known is not None:
        said = known_sentence(coverage.screen_known)
        sentences.append(f"{said[0].upper()}{said[1:]}.")
    sentences.extend(
        f"Unaided, it brings {', '.join(one.neurons)}: {one.open} of these {len(one.neurons)} "
        f"{'opens' if one.open == 1 else 'open'}."
        for one in coverage.unaided
        if one.behavior == behavior.name
    )
    late = [one.neuron for one in coverage.passed_over if one.behavior == behavior.name]
    if late:
        sentences.append(_passed_over(late))
    sentences.extend(
        open_rate_sentence(rate) for rate in coverage.open_random if rate.behavior in (None, behavior.name)
    )
    return tuple(sentence for sentence in sentences if sentence)


def _passed_over(late: Sequence[str], limit: int = 4) -> str:
    """The screen's neurons that were not tested because nothing behind them recomputes what they write."""
    rest = "" if len(late) <= limit else f" and {len(late) - limit} more"
    return (
        "Passed over, since what they write would reach the readout as it is (too late): "
        f"{', '.join(late[:limit])}{rest}; --keep-late tests them."
    )


def _not_shown(document: ReportDocument, behavior: BehaviorSummary) -> str:
    """What the tested neurons do not show, which depends on whether one of them is open."""
    mine = [window for window in document.windows if window.behavior == behavior.name]
    if mine and all(window.verdict == "closed" for window in mine):
        return "That none of them is open does not mean that none exists: most neurons were not tested."
    return document.coverage.statement


def open_rate_sentence(rate: OpenRate) -> str:
    """The bound on the share of open neurons that the random sample gives."""
    scope = "" if rate.behavior is not None else " over all behaviors"
    if rate.n == 0:
        return f"No random neuron was tested{scope}, so the open rate is not bounded."
    return (
        f"{rate.k} of {rate.n} random neurons {'is' if rate.k == 1 else 'are'} open{scope}; "
        f"the model's open rate lies in {rate_interval(rate.interval)} (95 %)."
    )


def _percent(part: int, whole: int) -> str:
    if whole == 0:
        return "–"
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 10 or share == 0 else f"{share:.2g} %"


def unlike_sentences(predictions: Predictions) -> tuple[str, ...]:
    """What to think of predicted ceilings where the model is unlike those they were fitted on; else nothing."""
    if not predictions.unlike:
        return ()
    return (
        "This model is unlike those that predictions were fitted on: "
        f"{'; '.join(predictions.unlike)}. Predicted ceilings may be far off; measured ones stand.",
    )
