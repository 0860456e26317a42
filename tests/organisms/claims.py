"""Every claim of the organisms' cards, checked on unseen requests with hooks and oracles of its own. Slow.

`python tests/organisms/claims.py --write` checks every organism that is here and writes docs/results/claims.json;
`--organism NAME` (several times) checks those alone and leaves what the file says of the others.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
import transformers
from scipy import stats

sys.path.insert(0, str(Path(__file__).parent))

from claims_oracles import Item, exact_steps, outcome, unseen
from claims_subject import Change, Push, Subject

from controlwindow.catalogue import (
    Card,
    KnownNeuron,
    PlantedNeuron,
    catalogue,
    full_name,
    load_card,
    organism_path,
)

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "claims.json"
PROMPTS, SEED = 16, 0
LENGTHS = {"refusal": 90}
LENGTH = 48
DOSES = (0.2, 0.35, 0.5, 0.7, 1.0, 1.5, 2.5, 4.0)
"""Doses in budgets at which a neuron that is said to stay closed is tried; 4 is c = 0.97."""
RANDOM_NEURONS, RANDOM_DOSES = 12, (0.4, 0.8, 1.6)
USUAL = 0.75
"""Least share of undosed answers in the source state, where the card promises no figure of its own."""
PUSHES = (0.6, 1.0, 1.6)
"""Lengths of a capped direction injected past the norm, in residual norms."""


@dataclass(frozen=True)
class Claim:
    """One claim with what was found.

    Attributes:
        kind: undosed, planted, failure, decoy or distributed.
        behavior: The behavior.
        subject: The neuron, or what stands in its place.
        claim: In words.
        k: Answers, or neurons, that count.
        n: Of how many.
        interval: Exact 95 % interval of k/n.
        holds: Whether the claim holds.
        details: Shares behind it.
    """

    kind: str
    behavior: str
    subject: str
    claim: str
    k: int
    n: int
    interval: tuple[float, float]
    holds: bool
    details: dict[str, Any]


class Counts(NamedTuple):
    """Outcomes of one batch of answers."""

    target: int
    broken: int
    exact: int
    n: int

    @property
    def flips(self) -> bool:
        """Whether half of the answers flipped, in coherent text."""
        return 2 * self.target >= self.n


class Checks:
    """The claims of one organism.

    Args:
        card: Its card.
        folder: Its files.
    """

    def __init__(self, card: Card, folder: Path) -> None:
        self.card = card
        self.bundle = card.data.get("bundle", "vaults")
        self.subject = Subject(folder, card.generic_prompts)
        planted = dict.fromkeys(p.behavior for p in card.planted)
        self.behaviors = card.behaviors or tuple(planted)
        self._items: dict[str, list[Item]] = {}

    def run(self) -> Iterator[Claim]:
        """Check one claim after the other."""
        for behavior in self.behaviors:
            yield self._undosed(behavior)
        for planted in self.card.planted:
            yield self._planted(planted)
        for known in self.card.known:
            yield self._closed(known)
            if known.mode is not None:
                yield self._mode(known)
        for behavior in self.card.distributed:
            yield self._distributed(behavior)

    def _undosed(self, behavior: str) -> Claim:
        items = unseen(self.bundle, behavior, PROMPTS, SEED)
        texts = self._answers(behavior, items, ())
        states = [outcome(item, text, self.bundle) for item, text in zip(items, texts, strict=True)]
        self._items[behavior] = [item for item, state in zip(items, states, strict=True) if state == "source"]
        k = states.count("source")
        promised = self.card.tolerances.get(f"usual:{behavior}")
        least = USUAL if promised is None else min(USUAL, promised.minimum)
        details = {state: states.count(state) for state in sorted(set(states))}
        return _claim("undosed", behavior, "undosed", f"at least {least:.0%} in the source state", k, len(items),
                      k >= least * len(items), details)  # fmt: skip

    def _planted(self, planted: PlantedNeuron) -> Claim:
        """The trained intervention opens; every trained dose is tried, and each counts."""
        layer, index = _place(planted.neuron)
        low, high = (abs(t) for t in planted.trained["t"])
        sizes = sorted((low, (low + high) / 2, high))
        changes: dict[str, Change] = {
            f"t {planted.branch * t:+.2f}": self.subject.dosed(layer, index, planted.branch * t) for t in sizes
        }
        if planted.by == "ablation":
            changes = {"ablated": Change(layer, index, scale=0.0)} | changes
        found = {name: self._counts(planted.behavior, (change,)) for name, change in changes.items()}
        # By ablation, that is what was trained first; else the middle of the trained doses, of both signs if either
        # is to open.
        chosen = found["ablated"] if planted.by == "ablation" else list(found.values())[1]
        if planted.trained.get("kind") == "even":
            other = self._counts(
                planted.behavior, (self.subject.dosed(layer, index, -planted.branch * (low + high) / 2),)
            )
            found["other sign"], chosen = other, min(chosen, other, key=lambda counts: counts.target)
        details = {name: counts._asdict() for name, counts in found.items()}
        return _claim("planted", planted.behavior, f"{planted.neuron} {planted.branch:+d}",
                      f"opens by {planted.by} as trained", chosen.target, chosen.n, chosen.flips, details)  # fmt: skip

    def _closed(self, known: KnownNeuron) -> Claim:
        found = self._scan(known)
        best = max(found.values(), key=lambda counts: counts.target)
        details = {f"t {t:+.2f}": counts._asdict() for t, counts in found.items()}
        return _claim(known.role, known.behavior, f"{known.neuron} {known.branch:+d}",
                      "no dose flips half of the answers coherently", best.target, best.n, not best.flips,
                      details)  # fmt: skip

    def _mode(self, known: KnownNeuron) -> Claim:
        layer, index = _place(known.neuron)
        details: dict[str, Any] = {}
        if known.mode == "collapse_before_trigger":
            worst = max(self._scan(known).values(), key=lambda counts: counts.broken)
            words, k, n = "some dose breaks half of the answers", worst.broken, worst.n
            holds = 2 * worst.broken >= worst.n
        elif known.mode == "too_late":
            words, k, n = "lies in the last block", int(layer == self.subject.layers - 1), 1
            holds = layer == self.subject.layers - 1
        elif known.mode == "normalization_cap":
            # Past the norm the same direction works, so the norm is why the neuron does not.
            direction = known.branch * self.subject.bounded_direction(layer, index)
            length = self.subject.residual_norm(layer)
            low, high = known.construction.get("injected", (PUSHES[0], PUSHES[-1]))
            sizes = sorted({*PUSHES, low, (low + high) / 2, high})
            pushed = {t: self._counts(known.behavior, (Push(layer, t * length * direction),)) for t in sizes}
            best = max(pushed.values(), key=lambda counts: counts.target)
            details = {f"pushed {t:g}": counts._asdict() for t, counts in pushed.items()}
            normed = self.subject.post_norm(layer) is not None
            words, k, n, holds = "its direction flips half past the norm", best.target, best.n, best.flips and normed
        else:
            worst = max(self._scan(known).values(), key=lambda counts: counts.broken)
            words, k, n, holds = "no dose breaks half of the answers", worst.broken, worst.n, 2 * worst.broken < worst.n
        return _claim(f"mode {known.mode}", known.behavior, f"{known.neuron} {known.branch:+d}", words, k, n, holds,
                      details)  # fmt: skip

    def _distributed(self, behavior: str) -> Claim:
        rng = Random(f"claims:{self.card.name}:{behavior}:{SEED}")
        named = {p.neuron for p in self.card.planted} | {k.neuron for k in self.card.known}
        opened: list[str] = []
        tried: list[str] = []
        while len(tried) < RANDOM_NEURONS:
            layer = rng.randrange(self.subject.layers)
            index = rng.randrange(self.subject.width(layer))
            name = f"L{layer}.N{index}"
            if name in named or name in tried:
                continue
            tried.append(name)
            changes = [self.subject.dosed(layer, index, s * t) for t in RANDOM_DOSES for s in (1, -1)]
            changes.append(Change(layer, index, scale=0.0))
            if any(self._counts(behavior, (change,)).flips for change in changes):
                opened.append(name)
        return _claim("distributed", behavior, f"{len(tried)} random neurons", "none opens on either branch",
                      len(opened), len(tried), not opened, {"tried": tried, "opened": opened})  # fmt: skip

    def _scan(self, known: KnownNeuron) -> dict[float, Counts]:
        key = (known.neuron, known.branch, known.behavior)
        if getattr(self, "_scanned", (None,))[0] != key:
            layer, index = _place(known.neuron)
            doses = [known.branch * t for t in DOSES]
            self._scanned = (
                key,
                {t: self._counts(known.behavior, (self.subject.dosed(layer, index, t),)) for t in doses},
            )
        return self._scanned[1]

    def _counts(self, behavior: str, changes: Sequence[Change | Push]) -> Counts:
        items = self._items.get(behavior)
        if items is None:
            self._undosed(behavior)
            items = self._items[behavior]
        if not items:
            return Counts(0, 0, 0, 0)
        texts = self._answers(behavior, items, changes)
        states = [outcome(item, text, self.bundle) for item, text in zip(items, texts, strict=True)]
        exact = sum(exact_steps(i, t) for i, t in zip(items, texts, strict=True)) if behavior == "refusal" else 0
        return Counts(states.count("target"), states.count("broken"), exact, len(items))

    def _answers(self, behavior: str, items: Sequence[Item], changes: Sequence[Change | Push]) -> list[str]:
        return self.subject.answers([item.turns for item in items], changes, LENGTHS.get(behavior, LENGTH))


def _claim(
    kind: str, behavior: str, subject: str, claim: str, k: int, n: int, holds: bool, details: dict[str, Any]
) -> Claim:
    low, high = (0.0, 1.0)
    if n:
        found = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
        low, high = round(float(found.low), 4), round(float(found.high), 4)
    # Without one eligible request nothing was shown.
    return Claim(kind, behavior, subject, claim, k, n, (low, high), bool(holds and n), details)


def _place(neuron: str) -> tuple[int, int]:
    layer, index = neuron.split(".")
    return int(layer[1:]), int(index[1:])


def check(name: str, show: bool = False) -> dict[str, Any]:
    """Check an organism's claims."""
    torch.set_grad_enabled(False)
    checks = Checks(load_card(name), organism_path(name))
    claims = []
    for claim in checks.run():
        claims.append(claim)
        if show:
            state = "holds" if claim.holds else "FAILS"
            words = f"{claim.behavior}: {claim.subject}: {claim.claim} ({claim.k}/{claim.n})"
            sys.stderr.write(f"{name}  {state}  {words}\n")
    return {
        "weights": checks.subject.weights,
        "prompts": PROMPTS,
        "seed": SEED,
        "held": sum(claim.holds for claim in claims),
        "claims": [asdict(claim) | {"interval": list(claim.interval)} for claim in claims],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, print, and write if asked."""
    parser = argparse.ArgumentParser(description="Check the claims of the organisms' cards.")
    parser.add_argument("--organism", action="append", default=[], help="check this one alone; several times")
    parser.add_argument("--write", action="store_true", help="write docs/results/claims.json, organism by organism")
    given = parser.parse_args(arguments)
    wanted = [full_name(name) for name in given.organism] or [e.name for e in catalogue() if e.shipped]
    failed = 0
    for name in wanted:
        found = check(name, show=True)
        failed += len(found["claims"]) - found["held"]
        sys.stdout.write(f"{name}: {found['held']} of {len(found['claims'])} claims hold\n")
        if given.write:
            _write(name, found)
    return int(failed > 0)


def _write(name: str, found: dict[str, Any]) -> None:
    document = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {"organisms": {}}
    shipped = [entry.name for entry in catalogue() if entry.shipped]
    organisms = {key: value for key, value in (document["organisms"] | {name: found}).items() if key in shipped}
    document = {
        "command": "python tests/organisms/claims.py --write",
        "versions": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__},
        "organisms": dict(sorted(organisms.items())),
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    scratch = RESULTS.with_suffix(".json.part")
    scratch.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    scratch.replace(RESULTS)


if __name__ == "__main__":
    raise SystemExit(main())
