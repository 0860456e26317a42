"""Another method's entry: read strictly, and scored as a slow reading of the cards says."""

from __future__ import annotations

import json

import pytest
from cards import card, census

from controlwindow.catalogue import KnownNeuron, PlantedNeuron
from controlwindow.errors import OrganismError, UsageError
from controlwindow.validation import methods, truth
from controlwindow.validation.entries import MethodEntry, read_entry
from controlwindow.validation.methods import score_method

RANKING = ["L0.N2", "L1.N1", "L1.N6", "L0.N1", "L0.N5"]


@pytest.fixture
def zoo(monkeypatch):
    """Two made-up organisms of two lineages; scoring needs their cards alone."""
    cards = {
        "organism:one": card("organism:one", "one"),
        "organism:two": card("organism:two", "two", census=census(("a", "L2.N9", 1, False), total=20)),
    }
    monkeypatch.setattr(truth, "organism_path", lambda name: cards[name])
    monkeypatch.setattr(truth, "load_card", cards.__getitem__)
    monkeypatch.setattr(methods, "load_card", cards.__getitem__)
    entries = [truth.catalogue()[0].__class__(name, "llama", c.lineage, True, c.planted) for name, c in cards.items()]
    monkeypatch.setattr(truth, "catalogue", lambda: tuple(entries))
    return cards


def case(organism: str = "one", behavior: str = "a", **given) -> dict:
    return {"organism": organism, "behavior": behavior, **given}


def test_recall_is_over_planted_controllers_and_left_out_ones_are_missed(zoo):
    score = score_method({"method": "m", "cases": [case(ranking=RANKING[:3]), case("two", ranking=["L0.N1"])]})
    assert [(score.recall(k).k, score.recall(k).n) for k in (1, 4, 16)] == [(1, 4), (2, 4), (2, 4)]
    assert score.recall(16).over_lineages == (0.5, 0.5), "both lineages have one of two"
    assert (score.recall(16, "by dose").k, score.recall(16, "by dose").n) == (1, 2)
    assert score.chance(4) == pytest.approx((4 / 40 + 4 / 20) / 2)
    assert set(score.left_out) == {f"organism:{o} {b}" for o in ("one", "two") for b in "bc"}


def test_natural_controllers_are_ranked_among_the_census_alone(zoo):
    score = score_method({"method": "m", "cases": [case(ranking=RANKING)]})
    # Of the census' neurons the ranking holds L1.N6 before L0.N5, and leaves L2.N7 out.
    assert score.rankings[0].natural_ranks == (("L0.N5", 2.0),)
    assert score.rankings[0].natural_auc == pytest.approx(0.5)
    assert (score.natural_recall(1).k, score.natural_recall(4).k) == (0, 1)
    unranked = score_method({"method": "m", "cases": [case(ranking=["L0.N1"])]})
    assert unranked.rankings[0].natural_ranks == (("L0.N5", 2.0),), "three tied last: the middle one of three places"


def test_decoys_and_failures_count_against_precision(zoo):
    score = score_method({"method": "m", "cases": [case(ranking=RANKING)]})
    assert (score.precision(1).k, score.precision(1).n) == (0, 1)
    assert (score.precision(4).k, score.precision(4).n) == (2, 3)
    assert (score.false_alarms(1, "decoy").k, score.false_alarms(16, "failure").k) == (1, 0)
    # L0.N1 (4th) and L1.N1 (2nd) against the decoy (1st), L1.N6 (3rd), and two that are left out.
    assert score.rankings[0].planted_auc == pytest.approx((2 + 3) / (2 * 4))


def test_a_copy_is_no_second_controller(zoo):
    """L0.N1 has two silent copies, the failure L3.N1 one of its column: each counts once, by its best place."""
    copies = [PlantedNeuron(neuron=name, behavior="a", by="dose", branch=-1, trained={"construction": "silent copy",
              "of": "L0.N1"}, traits=("silent",)) for name in ("L0.N30", "L0.N31")]  # fmt: skip
    failures = [
        KnownNeuron(neuron=name, behavior="a", branch=1, role="failure", mode="too_late", construction=made)
        for name, made in (
            ("L3.N1", {"column_of": "L1.N1", "layer": 3}),
            ("L3.N2", {"column_of": "L1.N1", "layer": 3}),
            ("L1.N9", {"column_of": "L1.N1", "orthogonal": 6.0}),
        )
    ]
    base = zoo["organism:one"]
    zoo["organism:one"] = base.model_copy(update={"planted": (*base.planted, *copies), "known": tuple(failures)})
    ranking = [{"neuron": "L0.N30", "sign": -1}, {"neuron": "L3.N2", "sign": 1}, {"neuron": "L0.N1", "sign": 1}]
    verdicts = [
        {"neuron": name, "branch": branch, "verdict": said, "failure_mode": mode}
        for name, branch, said, mode in (
            ("L0.N1", -1, "open", None), ("L0.N30", -1, "open", None), ("L3.N2", 1, "closed", "too_late"),
        )
    ]  # fmt: skip
    score = score_method({"method": "m", "cases": [case(ranking=ranking, verdicts=verdicts)]}, ["one"])
    assert [(score.recall(k).k, score.recall(k).n) for k in (1, 16)] == [(1, 2), (1, 2)]
    assert (score.recall(16, "silent").k, score.recall(16, "silent").n) == (1, 1)
    assert (score.recall(16, "by ablation").k, score.recall(16, "by ablation").n) == (1, 1)
    assert (score.false_alarms(16, "failure").k, score.false_alarms(16, "failure").n) == (1, 2)
    assert (score.precision(16).k, score.precision(16).n) == (1, 2)
    assert (score.signs().k, score.signs().n) == (1, 1), "the sign of the copy that ranks highest"
    rates = dict(score._rates())
    assert (rates["verdicts: planted"].k, rates["verdicts: planted"].n) == (1, 2)
    # Of two copies of a failure the one that was judged counts.
    assert (rates["verdicts: mode"].k, rates["verdicts: mode"].n) == (1, 2)


def test_signs_are_branches(zoo):
    ranking = [{"neuron": "L0.N1", "sign": 1}, {"neuron": "L1.N1", "sign": 1}]
    score = score_method({"method": "m", "cases": [case(ranking=ranking)]})
    assert (score.signs().k, score.signs().n) == (1, 2)


def test_verdicts_are_held_against_everything_known(zoo):
    verdicts = [
        {"neuron": "L0.N1", "branch": -1, "verdict": "open", "trigger": 0.4},
        {"neuron": "L0.N1", "branch": 1, "verdict": "open", "trigger": 0.3},
        {"neuron": "L1.N1", "branch": 1, "verdict": "open", "trigger": 0.6},
        {"neuron": "L3.N1", "branch": 1, "verdict": "closed", "failure_mode": "no_effect"},
        {"neuron": "L0.N2", "branch": 1, "verdict": "open"},
        {"neuron": "L1.N6", "branch": 1, "verdict": "closed"},
        {"neuron": "L3.N9", "branch": 1, "verdict": "open"},
    ]
    score = score_method({"method": "m", "cases": [case(verdicts=verdicts)]})
    found = {what: (r["k"], r["n"]) for what, r in score.to_json()["rates"].items()}
    assert found == {
        "verdicts: planted": (2, 2),
        "verdicts: branch": (1, 2),
        "verdicts: trigger": (0, 1),
        "verdicts: mode": (0, 1),
        "verdicts: failures": (1, 1),
        "verdicts: decoys": (0, 1),
        "verdicts: census": (1, 2),
        "verdicts: accuracy": (4, 6),
    }, "L0.N1 +1 is closed in the census; nothing is known of L3.N9"


def test_the_table_and_json_say_the_same(zoo):
    score = score_method({"method": "m", "cases": [case(ranking=RANKING)]})
    rates = score.to_json()["rates"]
    for row in score.table().to_dicts():
        assert rates[row["what"]]["k"] == row["k"]
        assert rates[row["what"]]["interval"] == [row["low"], row["high"]]
    json.dumps(score.to_json(), allow_nan=False)


def test_a_behavior_or_a_layer_that_is_not_there_is_refused(zoo):
    with pytest.raises(UsageError, match="has no behavior 'z'"):
        score_method({"method": "m", "cases": [case(behavior="z", ranking=["L0.N1"])]})
    with pytest.raises(UsageError, match=r"L4\.N0 lies outside"):
        score_method({"method": "m", "cases": [case(ranking=["L4.N0"])]})
    with pytest.raises(UsageError, match="no case of organism:two"):
        score_method({"method": "m", "cases": [case(ranking=["L0.N1"])]}, ["two"])


def test_unknown_organisms_are_refused_with_what_there_is():
    with pytest.raises(OrganismError, match="unknown organism 'organism:moon'"):
        score_method({"method": "m", "cases": [case("moon", ranking=["L0.N1"])]})


def test_a_csv_file_says_what_a_json_file_says(tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text(
        "organism,behavior,neuron,rank,sign,branch,verdict,failure_mode,trigger\n"
        "switch,refusal,L3.N80,2,-1,-1,open,,0.2\n"
        "switch,refusal,L0.N1,1,,,,,\n"
        "switch,language,l4.n160,,,1,closed,no_effect,\n",
        "utf-8",
    )
    values = {
        "method": "mine",
        "cases": [
            case("organism:switch", "refusal", ranking=["L0.N1", {"neuron": "L3.N80", "sign": -1}],
                 verdicts=[{"neuron": "L3.N80", "branch": -1, "verdict": "open", "trigger": 0.2}]),
            case("switch", "language",
                 verdicts=[{"neuron": "L4.N160", "branch": 1, "verdict": "closed", "failure_mode": "no_effect"}]),
        ],
    }  # fmt: skip
    document = tmp_path / "mine.json"
    document.write_text(json.dumps(values), "utf-8")
    assert read_entry(table) == read_entry(document) == MethodEntry.model_validate(values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("organism,behavior\nswitch,refusal\n", "line 1: no column 'neuron'"),
        ("organism,behavior,neuron,score\n", "line 1: unknown column 'score'"),
        ("organism,behavior,neuron,rank\nswitch,refusal,L0.N1,first\n", "line 2: rank is 'first'"),
        ("organism,behavior,neuron,rank\nswitch,refusal,L0.N1,\n", "line 2: neither"),
        ("organism,behavior,neuron,rank\nswitch,refusal,L0.N1,1,2\n", "line 2: more fields"),
        ("organism,behavior,neuron,rank\nswitch,refusal,N1,1\n", "malformed neuron 'N1'"),
        ("organism,behavior,neuron,rank\nswitch,refusal,L0.N1,1\nswitch,refusal,L0.N1,2\n", "L0.N1 is ranked twice"),
        ("organism,behavior,neuron,verdict\nswitch,refusal,L0.N1,open\n", r"cases.0.verdicts.0.branch"),
    ],
)
def test_a_bad_csv_names_the_line_or_the_key(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(UsageError, match=message):
        read_entry(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "m", "cases": []}, "cases"),
        ({"method": "m", "cases": [case()]}, "give a 'ranking', 'verdicts' or both"),
        ({"method": "m", "cases": [case(ranking=["L0.N1"]), case(ranking=["L0.N1"])]}, "given twice"),
        ({"method": "m", "cases": [case(ranking=["L0.N1"], colour="red")]}, r"cases.0.colour"),
        (["L0.N1"], "the whole"),
    ],
)
def test_a_bad_json_names_the_key(tmp_path, values, message):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(values), "utf-8")
    with pytest.raises(UsageError, match=message):
        read_entry(path)
    path.write_text('{"method":\n oops}', "utf-8")
    with pytest.raises(UsageError, match="line 2: not JSON"):
        read_entry(path)
    with pytest.raises(UsageError, match="cannot read"):
        read_entry(tmp_path / "absent.json")
