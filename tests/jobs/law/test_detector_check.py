"""The detector's check on a behavior's own controls says that there are none, where answers are too short for them."""

from __future__ import annotations

from types import SimpleNamespace

from controlwindow.jobs.law.detector_check import check_detector
from controlwindow.jobs.law.plan import LawSizes
from controlwindow.runs.ledger.schema import as_json
from small_behaviors import make_behavior


def test_answers_too_short_for_collapsed_controls_are_no_check(llama):
    detector = SimpleNamespace(scale=1.0)
    session = SimpleNamespace(
        model=llama, engine=SimpleNamespace(detector=detector), plan=SimpleNamespace(sizes=LawSizes())
    )
    found = check_detector(session, make_behavior(horizons=[1]))
    assert found == {"controls": 0}
    assert as_json(found) == '{"controls":0}'
