"""The long run: `make torture`, or `python -m torture --kills 1000 --ledgers 200` with `tests` on the path."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import controlwindow.cli  # noqa: F401  imported once, before children are forked
from controlwindow import __version__
from controlwindow.catalogue import organism_path
from torture.behaviors import check_behavior, write_mutated
from torture.hostile import check_hostile, write_hostile
from torture.kills import kill_and_go_on, random_kills, whole_run
from torture.ledgers import check_spoiled, read_run
from torture.small import keep_at_hand, write_small
from torture.soak import levels_off, soak

KINDS = ("audit", "circuit", "probe", "comparison", "law", "census")
FIGURES = Path(__file__).resolve().parents[2] / "docs" / "results" / "torture.json"
NOTED_EVERY = 10
"""Trials after which the figures are written, so that a long run that is cut off has said how far it came."""
Found = Iterator[tuple[str, str | None]]
"""Of each trial what kind it is and what is wrong, or None; a part is given the first number, how many, seed, place."""


def main() -> int:
    """Run the parts that are asked for.

    Returns:
        0 where nothing is wrong.
    """
    arguments = _arguments()
    parts: dict[str, Callable[[int, int, int, Path], Found]] = {
        "kills": _kills, "behaviors": _behaviors, "ledgers": _ledgers, "hostile": _hostile,
        "soak": _soak,
    }  # fmt: skip
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    failed = False
    for name, part in parts.items():
        count = getattr(arguments, name)
        if not count:
            continue
        before = figures.get(name, {}) if arguments.go_on else {}
        if before.get("seed") != arguments.seed or before.get("version") != __version__:
            before = {}
        trials, problems = Counter(before.get("by_kind", {})), list(before.get("problems", []))
        begun, minutes = time.monotonic(), before.get("minutes", 0.0)

        def note(name=name, trials=trials, problems=problems, begun=begun, minutes=minutes) -> None:
            figures[name] = {
                "version": __version__,
                "seed": arguments.seed,
                "trials": sum(trials.values()),
                "by_kind": dict(sorted(trials.items())),
                "problems": problems,
                "minutes": round(minutes + (time.monotonic() - begun) / 60, 1),
            }
            if arguments.write:
                FIGURES.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", "utf-8")

        with tempfile.TemporaryDirectory() as directory:
            for kind, problem in part(sum(trials.values()), count, arguments.seed, Path(directory)):
                trials[kind] += 1
                if problem is not None:
                    problems.append(f"{kind}: {problem}")
                    sys.stderr.write(f"{name} {sum(trials.values())}: {problems[-1]}\n")
                if sum(trials.values()) % NOTED_EVERY == 0:
                    note()
        note()
        failed = failed or bool(problems)
        sys.stdout.write(json.dumps({name: figures[name]}, indent=1, ensure_ascii=False) + "\n")
    return int(failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    for name in ("kills", "behaviors", "ledgers", "hostile", "soak"):
        parser.add_argument(f"--{name}", type=int, default=0, metavar="N", help="how many trials")
    parser.add_argument("--go-on", action="store_true", help="go on from the figures that were written last")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"write the figures to docs/results/{FIGURES.name}")
    return parser.parse_args()


def _kills(first: int, count: int, seed: int, directory: Path) -> Found:
    words = write_small(directory)
    keep_at_hand(words, directory / "kept")
    wholes = [whole_run(kind, words[kind], directory / kind) for kind in KINDS]
    killed = directory / "killed"
    for whole, kill in random_kills(wholes, first, count, seed):
        problem = kill_and_go_on(whole, kill, killed)
        shutil.rmtree(killed, ignore_errors=True)
        yield whole.kind, None if problem is None else f"{kill}: {problem}"


def _behaviors(first: int, count: int, seed: int, directory: Path) -> Found:
    for number in range(first, count):
        place = directory / str(number)
        place.mkdir()
        path = write_mutated(place, random.Random(f"{seed} {number}"))
        problem = check_behavior(path)
        yield path.stem, None if problem is None else f"number {number}: {problem}"


def _ledgers(first: int, count: int, seed: int, directory: Path) -> Found:
    words = write_small(directory)
    keep_at_hand(words, directory / "kept")
    run = directory / "audit"
    whole_run("audit", words["audit"], run)
    outputs = read_run(run)
    for number in range(first, count):
        problem = check_spoiled(run, outputs, directory / f"spoiled-{number}", random.Random(f"{seed} {number}"))
        yield "audit", None if problem is None else f"number {number}: {problem}"


def _soak(first: int, count: int, seed: int, directory: Path) -> Found:
    """Memory begins anew with every process, so that a soak that was cut off begins anew too."""
    words = write_small(directory)
    keep_at_hand(words, directory / "kept")
    memory: list[float] = []
    for found in soak([words["comparison"], words["census"]], count, directory):
        if isinstance(found, str):
            yield "rounds", found
            return
        memory.append(found)
        problem = levels_off(memory) if len(memory) == count else None
        yield "rounds", problem
    sys.stderr.write(f"memory of the rounds, in MiB: {', '.join(f'{value:.0f}' for value in memory)}\n")


def _hostile(first: int, count: int, seed: int, directory: Path) -> Found:
    original = organism_path("organism:switch")
    for number in range(first, count):
        place = directory / str(number)
        done = write_hostile(place, original, random.Random(f"{seed} {number}"))
        problem = check_hostile(place)
        yield done.split(":")[0], None if problem is None else f"number {number}, {done}: {problem}"


if __name__ == "__main__":
    raise SystemExit(main())
