"""The long run: `make torture`, or `python -m torture --kills 100 --ledgers 50` with `tests` on the path."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import controlwindow.cli  # noqa: F401  imported once, before children are forked
from controlwindow import __version__
from controlwindow.catalogue import organism_path
from golden.behaviors import write_behaviors
from torture.behaviors import check_behavior, write_mutated
from torture.hostile import check_hostile, write_hostile
from torture.kills import kill_and_go_on, random_kills, whole_run
from torture.ledgers import check_spoiled, read_run

KINDS = ("audit", "circuit", "probe", "comparison", "law", "census")
FIGURES = Path(__file__).resolve().parents[2] / "docs" / "results" / "torture.json"
Found = Iterator[tuple[str, str | None]]
"""Of each trial what kind it is and what is wrong, or None."""


def main() -> int:
    """Run the parts that are asked for.

    Returns:
        0 where nothing is wrong.
    """
    arguments = _arguments()
    parts: dict[str, Callable[[int, int, Path], Found]] = {
        "kills": _kills, "behaviors": _behaviors, "ledgers": _ledgers, "hostile": _hostile,
    }  # fmt: skip
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    failed = False
    for name, part in parts.items():
        count = getattr(arguments, name)
        if not count:
            continue
        begun, trials, problems = time.monotonic(), Counter(), []
        with tempfile.TemporaryDirectory() as directory:
            for kind, problem in part(count, arguments.seed, Path(directory)):
                trials[kind] += 1
                if problem is not None:
                    problems.append(f"{kind}: {problem}")
                    sys.stderr.write(f"{name} {sum(trials.values())}: {problems[-1]}\n")
        figures[name] = {
            "version": __version__,
            "seed": arguments.seed,
            "trials": sum(trials.values()),
            "by_kind": dict(sorted(trials.items())),
            "problems": problems,
            "minutes": round((time.monotonic() - begun) / 60, 1),
        }
        failed = failed or bool(problems)
        if arguments.write:
            FIGURES.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", "utf-8")
        sys.stdout.write(json.dumps({name: figures[name]}, indent=1, ensure_ascii=False) + "\n")
    return int(failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    for name in ("kills", "behaviors", "ledgers", "hostile"):
        parser.add_argument(f"--{name}", type=int, default=0, metavar="N", help="how many trials")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"write the figures to docs/results/{FIGURES.name}")
    return parser.parse_args()


def _kills(count: int, seed: int, directory: Path) -> Found:
    behaviors = write_behaviors(directory)
    wholes = [whole_run(kind, behaviors, directory / kind) for kind in KINDS[: max(1, count)]]
    for number, (whole, kill) in enumerate(random_kills(wholes, count, seed)):
        problem = kill_and_go_on(whole, kill, directory / f"killed-{number}")
        yield whole.kind, None if problem is None else f"{kill}: {problem}"


def _behaviors(count: int, seed: int, directory: Path) -> Found:
    for number in range(count):
        place = directory / str(number)
        place.mkdir()
        path = write_mutated(place, random.Random(f"{seed} {number}"))
        problem = check_behavior(path)
        yield path.stem, None if problem is None else f"number {number}: {problem}"


def _ledgers(count: int, seed: int, directory: Path) -> Found:
    behaviors = write_behaviors(directory)
    run = directory / "audit"
    whole_run("audit", behaviors, run)
    outputs = read_run(run)
    for number in range(count):
        problem = check_spoiled(run, outputs, directory / f"spoiled-{number}", random.Random(f"{seed} {number}"))
        yield "audit", None if problem is None else f"number {number}: {problem}"


def _hostile(count: int, seed: int, directory: Path) -> Found:
    original = organism_path("organism:switch")
    for number in range(count):
        place = directory / str(number)
        done = write_hostile(place, original, random.Random(f"{seed} {number}"))
        problem = check_hostile(place)
        yield done.split(":")[0], None if problem is None else f"number {number}, {done}: {problem}"


if __name__ == "__main__":
    raise SystemExit(main())
