"""An audit under a norm after the FFN, whole: curves, injections past the norm, reasons, and what a report says."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

import budget_models
from controlwindow import audit
from controlwindow.behaviors import Behavior, CoherenceDetector
from controlwindow.behaviors.definition import BehaviorDefinition
from controlwindow.behaviors.loading import assemble as assemble_behavior
from controlwindow.cells import RolloutCell, cell_from_key, cell_key
from controlwindow.curves import CappedCurve, curve_from_json
from controlwindow.geometry import control_coordinate
from controlwindow.instruments import generic_pass
from controlwindow.instruments.ordinary import TEXT_PROMPTS
from controlwindow.jobs.audit.document import report_document
from controlwindow.measuring import detector as fitting
from controlwindow.measuring.engine import Engine
from controlwindow.models import Model, Neuron
from controlwindow.report.pages.audit.page import render_page
from controlwindow.report.sharing import shareable
from controlwindow.runs.ledger import Ledger

PERMISSIVE = CoherenceDetector(
    scale=1.0,
    onset_excess=1e6,
    mean_excess=1e6,
    window_excess=1e6,
    distinctness=1e-6,
    window_distinctness=1e-6,
)
"""A random model's text cannot be judged: it collapses under no dose here."""


def behavior(directory: Path, model: Model) -> Behavior:
    """A behavior that nothing flips: its target is never said."""
    definition = BehaviorDefinition.model_validate(
        {
            "name": "mode",
            "horizons": [4, 8],
            "minimum_eligible": 4,
            "oracles": {"target": {"type": "regex", "pattern": "nothing that is ever said"}},
            "prompts": {"evaluate": list(TEXT_PROMPTS[:16])},
        }
    )
    return assemble_behavior(definition, directory / "mode.toml")


@pytest.fixture(scope="module")
def model() -> Model:
    return budget_models.gemma2()


@pytest.fixture(scope="module")
def run(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two named neurons."""
    directory = tmp_path_factory.mktemp("capped")
    mode = behavior(directory, model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "fit_detector", _calibrated)
        audit(model, mode, directory / "run", neurons=["L0.N3", "L2.N40"], top=0, planted=False)
    return directory / "run"


def _calibrated(*_: Any) -> Any:
    from controlwindow.behaviors.detector_setting import DetectorSetting

    found = DetectorSetting(
        scale=1.0,
        thresholds={"mean_excess": 1.0},
        separable={},
        auc={},
        agreement=1.0,
        agreement_interval=(0.9, 1.0),
        false_positive_rate=0.0,
        true_positive_rate=1.0,
        total=1,
        prompts=1,
        shares=(),
        roc=(),
    )
    return PERMISSIVE, found


def test_windows_are_capped_and_say_why_they_are_closed(run: Path, model: Model) -> None:
    generic = generic_pass(model)
    with Ledger(run / "ledger.sqlite") as ledger:
        windows = list(ledger.find_all("window").values())
        predictions = ledger.find_all("prediction")
    assert len(windows) == 4
    for window in windows:
        neuron, branch = Neuron.parse(window["neuron"]), window["branch"]
        curve = curve_from_json(window["curve"])
        assert curve == generic.curve(model, neuron, branch)
        assert window["budget_kind"] == "capped"
        assert window["plateau"] == curve.plateau < 0.98
        assert window["budget"] == generic.budget(model, neuron)
        assert window["c0"] == curve.cosine
        assert window["failure_mode"] in ("too_late", "no_effect")
        assert window["injected_trigger"] is None
        assert window["ceiling_reachable"] in (None, False)
        # All doses of the scan were measured, none passes the plateau by much, and c is that of the capped curve.
        assert window["doses"][-1]["t"] == pytest.approx(4.9247, abs=1e-3)
        for dose in window["doses"]:
            assert dose["c"] == pytest.approx(curve.coordinate(dose["t"]))
        record = predictions[f"mode/{window['neuron']}/{branch:+d}"]
        assert curve_from_json(record["curve"]) == curve
        assert record["plateau"] == curve.plateau


def test_the_last_dose_goes_nearly_all_the_way_to_the_plateau(model: Model) -> None:
    generic = generic_pass(model)
    for layer in range(model.layers):
        for index in range(0, 48, 6):
            for branch in (1, -1):
                curve = generic.curve(model, Neuron(layer, index), branch)
                way = (curve.coordinate(4.9247) - curve.cosine) / (curve.plateau - curve.cosine)
                assert 0.95 < way < 1.05


def test_injections_past_the_norm_are_measured_along_the_same_direction(run: Path, model: Model) -> None:
    generic = generic_pass(model)
    with Ledger(run / "ledger.sqlite") as ledger:
        cells = [c for c in ledger.rollout_cells("mode", "L0.N3") if c.site == "residual"]
        rows = {cell: ledger.rows(cell) for cell in cells}
        plain = [c for c in ledger.rollout_cells("mode", "L0.N3") if c.site == "activation"]
    assert {c.branch for c in cells} == {1, -1} == {c.branch for c in plain}
    for cell in cells:
        assert cell.alpha == pytest.approx(cell.branch * cell.t * generic.residual_norm[0])
        if cell.t > 4.9:
            # Far past the plateau, where the plain curve ends.
            assert statistics.median(row["coordinate"] for row in rows[cell]) > 0.9
            assert generic.curve(model, Neuron(0, 3), cell.branch).plateau < 0.6
    assert max(cell.t for cell in cells) > 4.9


def test_results_and_report_tell_the_plateau(run: Path) -> None:
    with Ledger(run / "ledger.sqlite") as ledger:
        document = report_document(ledger)
    window = document.windows[0]
    assert window.budget_kind == "capped"
    page = render_page(document)
    assert "plateau c" in page.html
    assert "‖m‖ / ‖v‖" in page.html
    assert "plateau" in page.figures["mode-overview"]
    hidden = shareable(
        document.model_copy(update={"behaviors": (document.behaviors[0].model_copy(update={"sensitive": True}),)})
    )
    for shown in hidden.windows:
        assert shown.withheld
        assert shown.curve is None
        assert shown.plateau is None
        assert not shown.doses, "their end would tell the plateau"
    assert json.loads((run / "manifest.json").read_text())["configuration"]["neurons"] == ["L0.N3", "L2.N40"]


def test_an_audit_cut_off_and_gone_on_with_gives_the_same_windows(run: Path, model: Model) -> None:
    with Ledger(run / "ledger.sqlite") as ledger:
        before, chunks = ledger.find_all("window"), ledger.chunks_done()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "fit_detector", _calibrated)
        audit(model, behavior(run.parent, model), run, neurons=["L0.N3", "L2.N40"], top=0, planted=False)
    with Ledger(run / "ledger.sqlite") as ledger:
        assert ledger.find_all("window") == before
        assert ledger.chunks_done() == chunks


def test_a_dose_and_an_injection_are_different_cells_and_the_usual_one_keeps_its_key() -> None:
    dose = RolloutCell("b", "evaluate", "L0.N3", 1, 0.5, 2.0, prompts=("p",))
    injection = RolloutCell("b", "evaluate", "L0.N3", 1, 0.5, 2.0, prompts=("p",), site="residual")
    assert cell_key(dose) != cell_key(injection)
    assert "site" not in cell_key(dose)
    assert [cell_from_key(cell_key(cell)) for cell in (dose, injection)] == [dose, injection]


def test_the_engine_reaches_past_the_norm_what_no_dose_reaches(model: Model, tmp_path: Path) -> None:
    generic, neuron = generic_pass(model), Neuron(1, 11)
    mode = behavior(tmp_path, model)
    with Ledger() as ledger:
        engine = Engine(model, {"mode": mode}, generic, ledger, detector=PERMISSIVE)
        prompts = tuple(p.id for p in mode.prompts("evaluate"))
        t = 2.4
        cells = [
            RolloutCell("mode", "evaluate", str(neuron), 1, t, alpha, horizon=8, prompts=prompts, site=site)
            for site, alpha in (
                ("activation", t * generic.budget(model, neuron)),
                ("residual", t * generic.residual_norm[1]),
            )
        ]
        rows = engine.run(cells)
    curve = generic.curve(model, neuron, 1)
    assert isinstance(curve, CappedCurve)
    dosed, injected = (statistics.median(row["coordinate"] for row in rows[cell]) for cell in cells)
    assert dosed == pytest.approx(curve.coordinate(t), abs=0.15)
    assert injected == pytest.approx(control_coordinate(t, curve.cosine), abs=0.1)
    assert injected > curve.plateau + 0.2
