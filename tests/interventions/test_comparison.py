"""What is said at a matched rate: estimates, paired differences, and what a shared page leaves out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controlwindow.interventions.comparison import (
    METRICS,
    Comparison,
    LevelResult,
    benign_values,
    capability_values,
    differences,
    estimated,
    outcome_shares,
    rollout_values,
)
from controlwindow.report.pages.compare.page import (
    comparison_lines,
    comparison_table,
    write_comparison,
)
from controlwindow.statistics import wilson_interval

TARGETS = frozenset({"switched"})


def result(arm: str, kind: str, values: dict[str, list[float]], level: float = 0.5, **changes: object) -> LevelResult:
    method, _, neuron = arm.partition(" ")
    base = LevelResult(
        arm=arm,
        method={"mean": "mean_difference"}.get(method, method),
        kind=kind,
        neuron=neuron.removesuffix(" (control)") if neuron.startswith("L") else None,
        level=level,
        matched=bool(values),
        sign=1,
        layer=None if kind == "neuron" else 2,
        multiple=None,
        strength=0.375,
        raw=1.625,
        select_rate=0.5,
        select_n=32,
        highest=1.0,
        level_covered=True if values else None,
        metrics={name: estimated(name, v, 0) for name, v in values.items()},
        outcomes={"8": {"switched": 0.5, "unswitched": 0.5}} if values else {},
        values={name: tuple(v) for name, v in values.items()},
    )
    return LevelResult(**{**vars(base), **changes})


def comparison(results: tuple[LevelResult, ...]) -> Comparison:
    return Comparison(
        model="tiny",
        behavior="mode",
        levels=(0.5, 0.9),
        n_evaluate=20,
        n_select=16,
        results=results,
        differences=differences(results, 0),
        curves={row.arm: [(0.1, 0.0, 0.0), (0.4, 0.5, 0.0), (1.0, 0.25, 0.75)] for row in results},
        notes=("L3.N12 is as active on X+ as on X−, so it cannot be anchored",),
        seed=0,
    )


@pytest.fixture
def found() -> Comparison:
    better = {"behavior_rate": [1.0, 0.0] * 10, "excess_nll": [0.1] * 20, "collapsed": [0.0] * 20}
    worse = {"behavior_rate": [0.0, 1.0] * 10, "excess_nll": list(np.linspace(0.3, 0.5, 20)), "collapsed": [1.0] * 20}
    return comparison(
        (
            result("add L3.N1", "neuron", better),
            result("pin L3.N12", "neuron", worse),
            result("mean difference", "residual", worse),
            result("mean difference", "residual", {}, level=0.9),
            result("add L3.N1", "neuron", better, level=0.9),
            result("add L9.N9 (control)", "control", better),
        )
    )


def test_values_are_read_from_rows() -> None:
    rows = [
        {"prompt": "a", "outcomes": {"4": "unswitched", "8": "switched"}, "excess": 0.5, "verbatim": False},
        {"prompt": "b", "outcomes": {"4": "collapsed", "8": "collapsed"}, "excess": 3.0, "verbatim": False},
        {"prompt": "c", "outcomes": {"4": "unswitched", "8": "unswitched"}, "excess": 0.0, "verbatim": True},
    ]
    undosed = [{"prompt": p, "outcomes": {"4": "unswitched", "8": "unswitched"}} for p in "abc"]
    assert rollout_values(rows, 8, TARGETS) == {
        "behavior_rate": (1.0, 0.0, 0.0),
        "collapsed": (0.0, 1.0, 0.0),
        "excess_nll": (0.5, 3.0, 0.0),
    }
    assert benign_values(rows, undosed, 8) == {
        "benign_changed": (1.0, 1.0, 0.0),
        "benign_collapsed": (0.0, 1.0, 0.0),
        "benign_verbatim": (0.0, 0.0, 1.0),
        "benign_excess_nll": (0.5, 3.0, 0.0),
    }
    assert outcome_shares(rows)["4"] == {"collapsed": pytest.approx(1 / 3), "unswitched": pytest.approx(2 / 3)}
    assert capability_values([{"excess": 0.1, "agreement": 0.9}])["capability_agreement"] == (0.9,)


def test_shares_have_wilson_intervals_and_means_cover_themselves() -> None:
    share = estimated("behavior_rate", [1.0, 0.0, 0.0, 1.0, 1.0], 0)
    assert (share.value, share.n) == (0.6, 5)
    assert (share.low, share.high) == pytest.approx(wilson_interval(3, 5))
    values = list(np.linspace(-1, 2, 30))
    mean = estimated("excess_nll", values, 0)
    assert mean.value == pytest.approx(0.5)
    assert mean.low < mean.value < mean.high
    # Roughly the textbook interval of a mean.
    assert mean.high - mean.low == pytest.approx(2 * 1.96 * np.std(values) / np.sqrt(30), rel=0.15)
    assert estimated("excess_nll", values, 0) == mean


def test_differences_are_paired_and_only_where_both_match(found: Comparison) -> None:
    pairs = {(row.level, row.arm, row.baseline) for row in found.differences}
    assert pairs == {(0.5, "add L3.N1", "mean difference"), (0.5, "pin L3.N12", "mean difference")}
    by_metric = {row.metric: row for row in found.differences if row.arm == "add L3.N1"}
    assert by_metric["collapsed"].value == -1.0
    # 20 equal differences have no spread to bootstrap, and still an interval.
    assert by_metric["collapsed"].low == -1.0 < by_metric["collapsed"].high < -0.8
    assert by_metric["behavior_rate"].value == 0.0
    assert by_metric["behavior_rate"].p == 1.0
    excess = by_metric["excess_nll"]
    assert excess.value == pytest.approx(0.1 - 0.4)
    assert excess.low < excess.value < excess.high < 0
    # 2 differences in each metric: Holm doubles the smaller p.
    assert excess.p == pytest.approx(1e-4)
    assert excess.p_holm == pytest.approx(2e-4)
    same = {row.metric: row for row in found.differences if row.arm == "pin L3.N12"}
    assert all((row.value, row.p_holm) == (0.0, 1.0) for row in same.values())


def test_documents_come_back_and_hold_no_values(found: Comparison) -> None:
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert all("values" not in row for row in document["results"])
    assert document["results"][0]["metrics"]["collapsed"] == {
        "value": 0.0, "low": 0.0, "high": pytest.approx(0.161, abs=1e-3), "n": 20
    }  # fmt: skip
    assert [LevelResult.from_json(json.loads(json.dumps(row.to_json()))) for row in found.results] == list(
        found.results
    )
    table = found.table()
    assert len(table) == len(found.results)
    unmatched = table.filter(~table["matched"])
    assert unmatched["behavior_rate"].to_list() == [None]
    assert set(METRICS) <= set(table.columns)


def test_page_and_figures_show_every_method_and_say_what_is_unmatched(found: Comparison, tmp_path: Path) -> None:
    page = write_comparison(found, tmp_path).read_text("utf-8")
    for text in ("add L3.N1", "pin L3.N12", "mean difference", "not matched: nearest 50%", "cannot be anchored"):
        assert text in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "comparison-costs.svg",
        "comparison-rates.svg",
    }
    assert comparison_table(found).row_count == len(found.results)
    assert "2 of 4 differences" in " ".join(comparison_lines(found))


def test_a_rate_off_its_level_is_marked_wherever_its_costs_are_compared(found: Comparison, tmp_path: Path) -> None:
    assert not any("leaves the level out" in line for line in comparison_lines(found))
    missed = [replace(row, level_covered=False) if row.arm == "mean difference" else row for row in found.results]
    marked = replace(found, results=tuple(missed))
    assert "* the interval on unseen prompts leaves the level out" in " ".join(comparison_lines(marked))
    page = write_comparison(marked, tmp_path).read_text("utf-8")
    assert page.count("<td>mean difference*</td>") == len(found.differences)
    assert '<th scope="row">add L3.N1*' not in page
    assert sum("*" in str(cell) for cell in comparison_table(marked).columns[3].cells) == sum(
        row.matched for row in missed if row.arm == "mean difference"
    )


def test_without_a_common_level_no_costs_are_compared(found: Comparison, tmp_path: Path) -> None:
    alone = replace(found, differences=())
    assert "no level is matched by both" in " ".join(comparison_lines(alone))
    assert "Neurons less residual baselines" not in write_comparison(alone, tmp_path).read_text("utf-8")


def test_a_shared_page_names_no_neuron_layer_or_strength(found: Comparison, tmp_path: Path) -> None:
    write_comparison(found, tmp_path)
    page = write_comparison(found, tmp_path, sensitive=True).read_text("utf-8")
    everything = page + "".join(path.read_text("utf-8") for path in (tmp_path / "figures").iterdir())
    for secret in ("L3.N1", "L9.N9", "0.375", "1.625", "layer 2"):
        assert secret not in everything
    assert "neuron A" in everything
    assert "withheld" in page
    # The figure along strengths is not left over from the page before.
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["comparison-costs.svg"]
    for asked in ({"sensitive": True, "organism": True}, {"sensitive": True, "include_neurons": True}, {}):
        assert "L3.N1" in write_comparison(found, tmp_path, **asked).read_text("utf-8")
