"""How behaviors are shown: what one says, and what a model makes of it."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from controlwindow.behaviors import Behavior
from controlwindow.behaviors.definition import MINIMUM_CONTRAST
from controlwindow.behaviors.prompts import SPLITS
from controlwindow.cli.display import output
from controlwindow.report.terminal import plain_table
from controlwindow.validation.behavior_check import BehaviorCheck, disagree, most_frequent

_SAID = {True: "yes", False: "no", None: "cannot tell"}


def describe(behavior: Behavior) -> dict[str, Any]:
    """A behavior as plain values."""
    return {
        "name": behavior.name,
        "description": behavior.description,
        "outcomes": behavior.definition.outcomes,
        "oracles": {name: oracle.type for name, oracle in behavior.definition.oracles.items()},
        "languages": list(behavior.languages),
        "horizons": list(behavior.horizons),
        "sensitive": behavior.sensitive,
        "prompts": {split: len(behavior.prompts(split)) for split in SPLITS},
        "contrast": {split: len(behavior.prompts(split, "negative")) for split in SPLITS},
        "needed": behavior.minimum_eligible,
        "screens": behavior.inline_contrast is not None
        or min(len(behavior.prompts("find", role)) for role in ("positive", "negative")) >= MINIMUM_CONTRAST,
        "fingerprint": behavior.fingerprint,
    }


def show_description(entry: dict[str, Any]) -> None:
    """A behavior in a few lines."""
    console = output()
    console.print(Text(entry["name"], style="bold"))
    if entry["description"]:
        console.print(Text(f"  {entry['description']}"))
    oracles = ", ".join(f"{name} by {kind}" for name, kind in entry["oracles"].items())
    console.print(Text(f"  {entry['outcomes']} in {', '.join(entry['languages'])}: {oracles}"))
    sizes = ", ".join(f"{entry['prompts'][split]} + {entry['contrast'][split]} {split}" for split in SPLITS)
    console.print(Text(f"  {sizes} prompts (steered + contrast); horizons {', '.join(map(str, entry['horizons']))}"))
    if not entry["screens"]:
        console.print(Text(f"  no contrast of {MINIMUM_CONTRAST} prompts a side: screens cannot use it"))


def show_check(found: BehaviorCheck, neurons: int) -> None:
    """What a model makes of a behavior."""
    behavior, console = found.behavior, output()
    console.print(Text(f"{behavior.name} on {found.model}, undosed, {behavior.horizons[-1]} tokens", style="bold"))
    columns = [("split", "left"), ("prompts", "right"), ("eligible", "right")]
    columns += [(name, "right") for name in behavior.outcomes]
    rows = [
        [split, str(len(found.answers[split])), str(found.eligible(split))]
        + [str(found.outcomes(split)[name]) for name in behavior.outcomes]
        for split in SPLITS
    ]
    console.print(plain_table(columns, rows))
    for matched, answers in found.patterns():
        said = ", ".join(f"{name}: {_SAID[found]}" for name, found in matched.items())
        note = "  (they disagree)" if disagree(behavior, matched) else ""
        console.print(Text(f"{len(answers):>5}  {said}{note}"))
    if not found.enough:
        counts = found.outcomes("evaluate")
        instead = most_frequent(counts, [name for name in behavior.outcomes if name != behavior.source_outcome])
        console.print(
            Text(
                f"{found.eligible('evaluate')} of {len(found.answers['evaluate'])} evaluation prompts are eligible, "
                f"{behavior.minimum_eligible} are needed. Instead of '{behavior.source_outcome}', most answers are "
                f"'{instead}' ({counts[instead]}).",
                style="bold",
            ),
            soft_wrap=True,
        )
    for fit in found.on_task():
        better = "" if fit.suggested is None else f"; threshold {fit.suggested:g}: {fit.own_suggested:.0%} of its own"
        console.print(
            Text(
                f"oracle '{fit.oracle}' at threshold {fit.threshold:g}: reached by {fit.own:.0%} of the answers for "
                f"their own request and {fit.other:.0%} for another{better}"
            ),
            soft_wrap=True,
        )
    if behavior.sensitive:
        console.print(Text("answers are withheld: the behavior is sensitive", style="dim"))
    for sample in found.samples():
        if sample["answer"] is not None:
            console.print(Text(f"{sample['id']} ({sample['outcome']}): {_line(sample['answer'])}", style="dim"))
    cost = found.cost(neurons)
    console.print(
        Text(
            f"an audit of {cost.neurons} neurons on both branches: about {cost.rows:,} rollouts, at most "
            f"{cost.tokens:,} tokens, {_duration(cost.seconds)} at the speed measured here; screens and probe passes "
            "come on top"
        ),
        soft_wrap=True,
    )


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else line[:159] + "…"


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1:
        return "under a minute"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
