from __future__ import annotations

from xml.etree import ElementTree

import altair as alt
import pytest
from synthetic import HOSTILE, synthetic_document, synthetic_values

from controlwindow.errors import ReportError
from controlwindow.report import checks, load_document
from controlwindow.report.drawing import inert, render
from controlwindow.report.pages.audit import overview, response
from controlwindow.report.pages.audit.summary import windows_of
from controlwindow.report.palette import outcome_colors, stacking_order


@pytest.fixture(scope="module")
def document():
    return synthetic_document()


def test_specifications_follow_the_schema(document) -> None:
    refusal, language = document.behaviors
    windows = windows_of(document, "refusal")
    specifications = [
        overview.overview(windows),
        response.dose_response(windows[0], refusal),
        response.dose_response(windows_of(document, "language")[0], language),
        response.horizons(windows[0], refusal),
        checks.saturation(windows[0]),
        checks.ceilings(document),
        checks.generic_pass(document.generic.layers),
    ]
    for specification in specifications:
        alt.Chart.from_dict(specification, validate=True)


def test_what_cannot_be_drawn_is_left_out(document) -> None:
    refusal, language = document.behaviors
    window = windows_of(document, "refusal")[0]
    bare = window.model_copy(update={"doses": ()})
    assert response.dose_response(bare, refusal) is None
    assert response.horizons(bare, refusal) is None
    assert response.horizons(windows_of(document, "language")[0], language) is None
    assert checks.saturation(window.model_copy(update={"c0": None})) is None
    assert checks.ceilings(document.model_copy(update={"windows": ()})) is None
    assert checks.generic_pass(()) is None


def test_shares_of_a_dose_are_all_drawn(document) -> None:
    refusal = document.behaviors[0]
    window = windows_of(document, "refusal")[0]
    rows = response.dose_response(window, refusal)["datasets"]["shares"]
    assert len(rows) == len(window.doses) * len(refusal.outcomes)
    for dose in window.doses:
        drawn = {row["outcome"].replace(" ", "_"): row["share"] for row in rows if row["c"] == dose.c}
        assert drawn == dose.shares["64"]


def test_every_mark_has_its_rows(document) -> None:
    refusal = document.behaviors[0]
    window = windows_of(document, "refusal")[0]

    def names(part):
        if isinstance(part, dict):
            if isinstance(part.get("data"), dict):
                yield part["data"]["name"]
            for inner in part.values():
                yield from names(inner)
        elif isinstance(part, list):
            for inner in part:
                yield from names(inner)

    for figure in (
        response.dose_response(window, refusal),
        response.horizons(window, refusal),
        checks.ceilings(document),
        checks.generic_pass(document.generic.layers),
    ):
        assert set(names(figure)) == set(figure["datasets"])
    assert "after 8 tokens" in render(response.horizons(window, refusal), "one", "words")
    assert 'stroke-dasharray="4,3"' in render(response.dose_response(window, refusal), "one", "words")


def test_an_unreached_ceiling_runs_to_the_end(document) -> None:
    values = synthetic_values()
    values["windows"][0] |= {"ceiling": None, "ceiling_interval": None, "ceiling_predicted": None}
    values["windows"][0]["ceiling_predicted_interval"] = None
    changed = load_document(values)
    row = overview.overview(windows_of(changed, "refusal"))["datasets"]["windows"][0]
    assert (row["label"], row["reach"], row["ceiling"]) == ("L3.N120  −", 1.0, None)
    tables = response.dose_response(windows_of(changed, "refusal")[0], changed.behaviors[0])["datasets"]
    assert [name for name in tables if name.startswith("threshold")] == ["threshold0"]
    render(overview.overview(windows_of(changed, "refusal")), "one", "words")


def test_colors_are_by_meaning(document) -> None:
    refusal, language = (outcome_colors(behavior) for behavior in document.behaviors)
    assert refusal["refused"] == language["unswitched"]
    assert refusal["actionable"] == language["switched"]
    assert refusal["collapsed"] == language["collapsed"]
    assert len(set(refusal.values())) == 5
    assert stacking_order(document.behaviors[0]) == ("actionable", "bypass", "refused", "off_task", "collapsed")


def test_text_in_a_figure_is_inert() -> None:
    values = synthetic_values()
    values["behaviors"][0]["outcomes"].append(HOSTILE)
    changed = load_document(values)
    window = windows_of(changed, "refusal")[0]
    svg = render(response.dose_response(window, changed.behaviors[0]), "hostile", HOSTILE)
    root = ElementTree.fromstring(svg)
    assert not [element for element in root.iter() if "script" in element.tag or element.tag.endswith("image")]
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on") or "href" in name]
    assert "<svg onload" not in svg


def test_inert_drops_what_acts_and_keeps_shapes() -> None:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="10" height="20" '
        'onload="alert(1)"><script>alert(2)</script>'
        '<defs><clipPath id="a"><rect width="1" height="1"/></clipPath></defs>'
        '<image href="http://example.org/x.png"/><foreignObject/><style>@import url(http://example.org)</style>'
        '<a xlink:href="javascript:alert(3)"><text>x</text></a>'
        '<path d="M0,0" clip-path="url(#a)" fill="url(http://example.org)" style="fill:red" onclick="x()"/></svg>'
    )
    clean = inert(svg, "one", "a <b> & c")
    for word in ("script", "onload", "onclick", "href", "example.org", "foreignObject", "javascript"):
        assert word not in clean
    assert 'clip-path="url(#one-a)"' in clean
    assert 'id="one-a"' in clean
    assert 'viewBox="0 0 10 20"' in clean
    assert 'aria-label="a &lt;b&gt; &amp; c"' in clean


def test_what_cannot_be_drawn_is_an_error() -> None:
    with pytest.raises(ReportError, match="not well-formed"):
        inert("<svg><g></svg>", "broken", "")
    with pytest.raises(ReportError, match="cannot be drawn"):
        render({"mark": "nonsense"}, "broken", "")
