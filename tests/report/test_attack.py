"""Who has a page that withholds, the model and the behavior, and nothing else, does no better than chance.

Two ways: every plan that could have made the page is enumerated and looked for in it; and pages of other neurons, with
all that is each neuron's own, are the same page to the byte.
"""

from __future__ import annotations

import copy
import json
import random
import re
from pathlib import Path

import pytest
from synthetic import synthetic_values

from controlwindow.behaviors import load_behavior
from controlwindow.interventions.comparison import Comparison, Difference, Estimate, LevelResult
from controlwindow.jobs.audit.plan import plan_audit
from controlwindow.report import load_document, write_report
from controlwindow.report.pages.circuit.page import write_circuit_report
from controlwindow.report.pages.compare.page import write_comparison
from controlwindow.report.pages.law.document import shareable_law
from controlwindow.report.pages.law.page import law_text, render_law
from controlwindow.report.pages.probe.page import write_probe_report
from golden.runs import GOLDEN
from tiny_models import llama

LAYERS = 8


def everything(page: Path) -> str:
    """What a reader of a run's page has: the page and its figures, less the run's name, which is drawn at random."""
    files = [page, *sorted(page.parent.joinpath("figures").iterdir())]
    text = "".join(f"{file.name}\n{file.read_text('utf-8')}\n" for file in files)
    return re.sub(r"<dd>[0-9a-f]{12}</dd>", "<dd>run</dd>", text)


def audit_of(neuron: tuple[int, int], seed: int, changes: dict | None = None) -> dict:
    """A small audit of a real model with one sensitive behavior; all that is a neuron's own follows from `seed`."""
    rng = random.Random(seed)
    values = synthetic_values(organism=False)
    window, other = copy.deepcopy(values["windows"][0]), copy.deepcopy(values["windows"][1])
    name = f"L{neuron[0]}.N{neuron[1]}"
    for found in (window, other):
        found |= {"neuron": name, "layer": neuron[0], "candidate_from": rng.choice(["screen", "random", "named"])}
        found |= {key: rng.uniform(0.01, 9) for key in ("budget", "residual_norm", "write_norm", "propagation")}
        found |= {key: rng.uniform(0.1, 0.9) for key in ("ceiling_predicted", "routed_share")}
        found["ceiling_predicted_interval"] = sorted(rng.uniform(0.1, 0.9) for _ in range(2))
        found["predictions"] = {name: rng.uniform(0.1, 0.9) for name in found["predictions"]}
        found["c0"] = rng.uniform(-0.2, 0.2)
        for key, middle in (("trigger", 0.2), ("ceiling", 0.75)):
            if found[key] is not None:
                found[key] = middle + rng.uniform(-0.02, 0.02)
                found[f"{key}_interval"] = [middle - rng.uniform(0.03, 0.049), middle + rng.uniform(0.03, 0.049)]
                found[f"{key}_t"] = rng.uniform(0.1, 5)
        found["triggers_by_outcome"] = {"bypass": {"64": found["trigger"]}}
        found["outcomes_at"] = 0.4 + rng.uniform(-0.02, 0.02)
        for place, dose in enumerate(found["doses"]):
            dose["t"] = 0.0 if place == 0 else dose["t"] + rng.uniform(0, 0.01)
            dose["c"] = found["c0"] if place == 0 else round(min(place, 10) * 0.1, 2) + rng.uniform(-0.02, 0.02) * 0.9
            dose["c"] = max(-1.0, min(1.0, dose["c"]))
            dose["n"] = 36 - place
            dose["c_measured"], dose["c_measured_interval"] = rng.uniform(-1, 1), None
        panel = found["panel"]
        for place, sample in enumerate(panel["samples"]):
            sample["t"] = 0.0 if place == 0 else rng.uniform(0.1, 4)
            sample["c"] = found["c0"] if place == 0 else 0.2 * place + rng.uniform(-0.02, 0.02)
        for rank in panel["ranks"]:
            rank["rank"], rank["score"] = rng.randrange(1, rank["of"]), rng.uniform(-1, 1)
        for row in panel["activation"]:
            row["maximum"] = rng.uniform(1, 9)
        panel["dose_multiple"] = rng.uniform(0.1, 9)
        panel["top_tokens"] = [{"token": f" {rng.randrange(99)}", "logit": rng.uniform(1, 3)}]
    values["windows"] = [window, other]
    values["behaviors"] = values["behaviors"][:1]
    values["behaviors"][0]["description"] = f"Does {name} lift the refusal?"
    values["model"] |= {"system_prompt": f"{name} is pushed.", "source": f"/home/{seed}/models/mine"}
    values["coverage"] = {
        "neurons_tested": 1,
        "neurons_total": 4096,
        "statement": f"{name} was tested.",
        "open_random": [{"behavior": "refusal", "k": seed % 2, "n": 1, "interval": [0.0, 1.0]}],
        "screen_known": {"screen": rng.choice(["window", "causal"]), "top": rng.randrange(9), "found": None},
        "unaided": [{"behavior": "refusal", "neurons": [name], "open": seed % 2}],
        "passed_over": [{"behavior": "refusal", "neuron": f"L3.N{rng.randrange(99)}", "propagation": 0.0}],
    }
    values |= {"run": f"{rng.getrandbits(48):012x}", "seed": seed, "notes": [f"{name} +1: 2 steps were ties."]}
    values["configuration"] = {
        "run": values["run"], "neurons": [name], "screen": rng.choice(["window", "causal"]), "top": rng.randrange(9),
        "seed": seed, "source": f"/home/{seed}/models/mine", "dtype": "float32", "chunk_rows": rng.randrange(999),
    }  # fmt: skip
    return values | (changes or {})


def test_no_plan_that_could_have_made_the_page_is_found_in_it(tmp_path: Path) -> None:
    model = llama()
    behavior = load_behavior("refusal")
    neurons = [str(neuron) for neuron in model.neurons]
    digests = {
        plan_audit(model, [("refusal", behavior)], neurons=[name], screen=screen, top=top, planted=True, seed=seed,
                   generic_prompts=None, include_completions=False, include_neurons=False).run: name
        for name in neurons for screen in ("contrastive", "window") for top in (0, 4) for seed in (0, 1)
    }  # fmt: skip
    digest, name = next((digest, name) for digest, name in digests.items() if name == neurons[7])
    values = audit_of((0, 7), 3, {"run": digest})
    values["configuration"]["run"] = digest
    page = write_report(load_document(values), tmp_path)
    text = page.read_text("utf-8") + "".join(p.read_text("utf-8") for p in (tmp_path / "figures").iterdir())
    found = {digests[known] for known in digests if known in text} | {n for n in neurons if f"{n}<" in text}
    assert not found
    shown = write_report(load_document(values), tmp_path, include_neurons=True).read_text("utf-8")
    assert {digests[known] for known in digests if known in shown} == {name}, "the attack works on a page that shows"


def test_an_audits_page_is_the_same_whichever_neuron_of_the_region_it_was(tmp_path: Path) -> None:
    pages = set()
    for seed, neuron in enumerate([(3, 1), (3, 120), (4, 7), (5, 500)]):
        assert neuron[0] * 3 // LAYERS == 1
        pages.add(everything(write_report(load_document(audit_of(neuron, seed)), tmp_path / str(seed))))
    assert len(pages) == 1


def test_a_region_is_all_that_a_page_says_of_the_place(tmp_path: Path) -> None:
    early, late = (write_report(load_document(audit_of((n, 5), 0)), tmp_path / str(n)) for n in (0, 7))
    assert everything(early).replace("early", "late") == everything(late)


def test_a_page_drawn_again_has_another_name(tmp_path: Path) -> None:
    document = load_document(audit_of((3, 1), 0))
    names = {re.search(r"<dd>([0-9a-f]{12})</dd>", write_report(document, tmp_path).read_text())[1] for _ in range(4)}
    assert len(names) == 4
    assert document.run not in names


def golden(kind: str) -> dict:
    return json.loads((GOLDEN / f"{kind}.json").read_text("utf-8"))["results"]


def test_a_circuits_page_is_the_same_whichever_neurons_it_holds(tmp_path: Path) -> None:
    pages = set()
    for seed in range(3):
        rng = random.Random(seed)
        values = golden("circuit") | {"organism": False, "run": f"{rng.getrandbits(48):012x}", "seed": seed}
        size = 2 + seed
        values["circuit"] = [
            {"neuron": f"L{rng.randrange(8)}.N{rng.randrange(99)}", "rank": place + 1, "score": rng.random(), "sign": 1}
            for place in range(size)
        ]
        values |= {"screen": rng.choice(["window", "causal"]), "dropped": {"universal": seed}, "notes": [f"L1.N{seed}"]}
        values["top"] = {"asked": str(size), "size": size, "rule": f"{size} neurons"}
        values["layers"] = [{**values["layers"][0], "layer": rng.randrange(8), "neurons": size}]
        values["moves"] = [{"layer": rng.randrange(8), "size": rng.random()}]
        for arm in values["detection"]["arms"]:
            arm["areas"], arm["delta"] = [rng.random()] * size, [rng.random()] * size
        pages.add(everything(write_circuit_report(values, tmp_path / str(seed))))
    assert len(pages) == 1


def test_a_probes_page_is_the_same_whichever_neurons_it_ranks(tmp_path: Path) -> None:
    pages = set()
    for seed in range(3):
        rng = random.Random(seed)
        values = golden("probe") | {"sensitive": True, "seed": seed, "notes": ["the top L3.N1 is a tie"]}
        values["model"] |= {"organism": False, "source": f"/home/{seed}/switch", "system_prompt": f"L2.N{seed}"}
        if seed == 0:
            values["notes"] = ["the top L5.N99 is a tie"]
        for row in values["ranking"]["top"]:
            row |= {"neuron": f"L{rng.randrange(8)}.N{rng.randrange(99)}", "mean": rng.random()}
        for line in [*values["effects"], *values["rollouts"], *values["chosen"].values()]:
            line["setting"] |= {"size": rng.randrange(9), "layer": rng.randrange(8), "strength": rng.random()}
        values["effects"] = values["effects"][seed:]
        values["grid"] = values["grid"][seed:]
        pages.add(everything(write_probe_report(values, tmp_path / str(seed))))
    assert len(pages) == 1


def comparison_of(seed: int) -> Comparison:
    rng = random.Random(seed)
    name = f"L{rng.randrange(8)}.N{rng.randrange(999)}"
    metric = {"behavior_rate": Estimate(0.5, 0.3, 0.7, 16)}
    measured = {"metrics": metric, "outcomes": {"16": {"switched": 1.0}}, "level_covered": True}
    shared = {"level": 0.5, "matched": True, "select_rate": 0.5, "select_n": 8, "highest": 1.0, **measured}
    chosen = {"strength": rng.random(), "raw": rng.random(), "layer": rng.randrange(8), "sign": rng.choice([1, -1])}
    results = (
        LevelResult(arm=f"add {name}", method="add", kind="neuron", neuron=name, multiple=None, **chosen, **shared),
        LevelResult(arm="mean difference", method="mean_difference", kind="residual", neuron=None, multiple=None,
                    **chosen, **shared),
    )  # fmt: skip
    difference = Difference(0.5, f"add {name}", "mean difference", "behavior_rate", 0.0, -0.1, 0.1, 1.0, 1.0, 16)
    curves = {f"add {name}": [(rng.random(), 0.1, 0.2)]}
    return Comparison("m", "b", (0.5,), 16, 8, results, (difference,), curves, (f"{name} is odd",), seed)


def test_a_comparisons_page_is_the_same_whichever_neuron_it_pushes(tmp_path: Path) -> None:
    pages = {
        everything(write_comparison(comparison_of(seed), tmp_path / str(seed), sensitive=True)) for seed in range(3)
    }
    assert len(pages) == 1
    assert "neuron A is odd" in pages.pop()


def law_of(seed: int) -> dict:
    """The golden validation, as if its model were a real one, with other neurons in another order."""
    rng = random.Random(seed)
    values = golden("law")
    table = values["records"]
    place = {column: table["columns"].index(column) for column in table["columns"]}
    for row in table["rows"]:
        row[place["neuron"]] = f"L{rng.randrange(8)}.N{rng.randrange(384)}"
        row[place["source"]] = rng.choice(["random", "screened"])
        for column, at in place.items():
            if isinstance(row[at], float) and column in ("c0", "budget", "depth", "curve/cosine", "propagation"):
                row[at] = rng.random()
            if column.startswith(("first_order/", "known/predictors/")) and row[at] not in ("", None):
                row[at] = [rng.random(), rng.random()]
    rng.shuffle(table["rows"])
    values["plan"] |= {"digest": f"{rng.getrandbits(64):016x}"}
    values["plan"]["sizes"] |= {"seed": seed}
    return values


def test_a_law_document_is_the_same_whichever_neurons_were_drawn() -> None:
    secrets = {"organism:switch": frozenset({"refusal"})}
    shared = [shareable_law(law_of(seed), secrets) for seed in range(3)]
    names = [document["plan"].pop("digest") for document in shared]
    assert len(set(names)) == 3
    texts = {law_text(document) for document in shared}
    assert len(texts) == 1
    assert not re.search(r"L\d+\.N\d+", texts.pop())
    pages = {json.dumps(render_law({**d, "plan": {**d["plan"], "digest": "x"}})) for d in shared}
    assert len(pages) == 1


def test_an_organisms_law_document_stays_as_it_is() -> None:
    values = golden("law")
    assert json.dumps(shareable_law(values, {})) == json.dumps(values)


@pytest.mark.parametrize("kind", ["circuit", "probe"])
def test_documents_give_back_the_values_they_were_given(kind: str) -> None:
    from controlwindow.report.pages.circuit.document import circuit_document
    from controlwindow.report.pages.probe.document import probe_document

    values = golden(kind)
    given = {"circuit": circuit_document, "probe": probe_document}[kind](values).to_json()
    assert json.dumps(given, sort_keys=True) == json.dumps(values, sort_keys=True)
