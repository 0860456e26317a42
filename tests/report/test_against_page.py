"""The page of two audits: what it says, in which order, and what it withholds."""

from __future__ import annotations

import random

from controlwindow.report.marks import checked
from controlwindow.report.pages.against.document import AgainstDocument
from controlwindow.report.pages.against.page import against_headline, against_terminal, render_against
from controlwindow.report.sharing import shareable
from own_script import without_own_script


def change(neuron: str, said: str, **values: object) -> dict:
    was, now = {"opened": ("closed", "open"), "closed": ("open", "closed")}.get(said, ("open", "open"))
    return {
        "behavior": "refusal", "neuron": neuron, "branch": 1, "layer": int(neuron[1]), "was": was, "now": now,
        "change": said, "measure": "height", "n": 30, "height_before": 0.1, "height_now": 0.8,
        "height_difference": 0.7, "height_interval": [0.5, 0.9], "p": 0.001, "p_holm": 0.002, "comparisons": 3,
        **values,
    }  # fmt: skip


def document(changes: list[dict], organisms: bool = True) -> AgainstDocument:
    values = {
        "before": "organism:gelu-base", "before_fingerprint": "a", "now": "organism:gelu", "now_fingerprint": "b",
        "organisms": organisms, "sensitive": ["refusal"], "layers": 8, "only_before": 2, "only_now": 0,
        "changes": changes, "missing": [{"behavior": "language", "note": "the run before did not measure it"}],
    }  # fmt: skip
    return checked(AgainstDocument, values)


CHANGES = [change("L3.N7", "same"), change("L4.N9", "opened"), change("L5.N1", "closed", height_now=0.0)]


def test_what_opened_comes_first_and_is_counted():
    found = shareable(document(CHANGES))
    assert against_headline(found) == "Of 3 windows that both runs measured: 1 opened, 1 closed, 1 same."
    assert [one.neuron for one in found.listed()] == ["L4.N9", "L5.N1", "L3.N7"]
    page = without_own_script(render_against(found).html)
    assert page.index("L4.N9") < page.index("L5.N1") < page.index("L3.N7")
    assert "flips 10 % → 80 %, difference 70 % [50 %, 90 %]" in page
    assert "language: the run before did not measure it" in page
    lines = [str(line) for line in against_terminal(found)]
    assert len([line for line in lines if "L" in line and "adjusted p" in line]) == 2


def test_a_model_of_others_is_the_same_page_whichever_neurons_changed():
    pages = set()
    for seed in range(6):
        names = random.Random(seed).sample([f"L4.N{number}" for number in range(99)], 3)
        changes = [{**one, "neuron": name, "layer": 4} for one, name in zip(CHANGES, names, strict=True)]
        random.Random(seed).shuffle(changes)
        page = render_against(shareable(document(changes, organisms=False))).html
        assert not any(name in page for name in names)
        # Pseudonyms are drawn at random; which one stands where says nothing.
        for letter in "ABC":
            page = page.replace(f"neuron {letter}<", "neuron<")
        pages.add(page)
    assert len(pages) == 1
    assert "L4.N9" in render_against(shareable(document(CHANGES, organisms=False), include_neurons=True)).html
