"""What judges said of a behavior's answers, in the ledger: a run that is gone on with judges no text twice."""

from __future__ import annotations

from collections.abc import Mapping

from controlwindow.behaviors.oracles import Judgement
from controlwindow.measuring.store import Store

JUDGEMENTS = "judgements"
"""The kind of ledger records that hold them: by key what was said and why, one record for what was judged at once."""


class KeptJudgements:
    """Judgements of one behavior, by the keys that `outcomes` gives them; those of earlier processes are read once.

    Args:
        store: The ledger.
        behavior: The behavior's name.
    """

    def __init__(self, store: Store, behavior: str) -> None:
        self._store, self._behavior = store, behavior
        self._known = {
            key: Judgement(*said)
            for name, record in store.find_all(JUDGEMENTS).items()
            if name.startswith(f"{behavior}/")
            for key, said in record.items()
        }

    def __contains__(self, key: object) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> Judgement:
        return self._known[key]

    def update(self, found: Mapping[str, Judgement]) -> None:
        """Keep further ones, before anything is made of them."""
        new = {key: said for key, said in found.items() if key not in self._known}
        if new:
            name = f"{self._behavior}/{next(iter(new))}"
            self._store.remember(JUDGEMENTS, name, lambda: {key: list(said) for key, said in new.items()})
            self._known |= new


def reply_counts(records: Mapping[str, Mapping[str, list[object]]], behavior: str) -> dict[str, dict[str, int]]:
    """How the judges of a behavior replied, by the name of what they decide: yes, no, and why not.

    Args:
        records: All records of the kind `JUDGEMENTS`.
        behavior: The behavior's name.
    """
    counts: dict[str, dict[str, int]] = {}
    for name, record in records.items():
        if not name.startswith(f"{behavior}/"):
            continue
        for key, (said, why) in record.items():
            of_oracle = counts.setdefault(key.partition("/")[0], {})
            word = str(why) or {True: "yes", False: "no"}.get(said, "undecided")  # type: ignore[call-overload]
            of_oracle[word] = of_oracle.get(word, 0) + 1
    return {name: dict(sorted(found.items())) for name, found in sorted(counts.items())}
