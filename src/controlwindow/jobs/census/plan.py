"""The plan of a census, committed before anything is measured."""

from __future__ import annotations

from typing import ClassVar

from controlwindow.runs.plan import Plan


class CensusPlan(Plan):
    """What a census does.

    Attributes:
        organism: Its name.
        fingerprint: Its weights hash.
        behaviors: Names of the behaviors.
        neurons: Size of the random sample; planted neurons are in it only by chance.
        prompts: Eligible evaluation prompts used.
        seed: Seed of the sample.
    """

    kind: ClassVar[str] = "census"

    organism: str
    fingerprint: str
    behaviors: tuple[str, ...]
    neurons: int
    prompts: int
    seed: int
