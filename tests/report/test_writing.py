from __future__ import annotations

import errno
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from synthetic import HOSTILE, synthetic_document, synthetic_values

from controlwindow.errors import ReportError
from controlwindow.report import load_document, write_report
from controlwindow.report.page import _policy
from controlwindow.report.palette import MUTED, VERDICTS
from own_script import SCRIPT, hash_of, policy_of, without_own_script


class _Reader(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    return reader


def _trim(values):
    """Fewer windows, one of each kind, so that writing stays quick."""
    kept = {}
    for window in values["windows"]:
        kept.setdefault((window["behavior"], window["failure_mode"], window["decided"]), window)
    return values | {"windows": list(kept.values())}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return write_report(load_document(_trim(synthetic_values())), folder, include_completions=True)


@pytest.fixture(scope="module")
def withheld(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    return write_report(load_document(_trim(synthetic_values(organism=False))), folder)


def test_the_page_says_what_was_found(written: Path) -> None:
    text = re.sub(r"\s+", " ", " ".join(_read(written.read_text(encoding="utf-8")).text))
    for words in (
        "2 of 4 tested neurons open a control window.",
        "1 of 3 tested neurons opens a control window.",
        "not reached",
        "collapses first",
        "too late",
        "capped by norm",
        "no effect",
        "undecided",
        "4 of 4,096 neurons were tested",
        "does not mean that none exists",
        "planted L3.N120 ranks 49 of 4,096",
        "0 of 2 random neurons are open; the model's open rate lies in [0.0, 84.2] %",
        "How to read a window",
        "Agreement with the labels 98 %",
        "5b2f28d0e3f84b6d9a31c07f5e21b8aa90cc4d17",
        "8, 16, 32, 64 tokens",
        "The trigger dose is 1.8 times this range.",
        "First, turn the copper dial to seven.⏎Then lift",
        "␣Sorry",
    ):
        assert words in text, words


def test_intervals_stand_beside_numbers(written: Path) -> None:
    html = written.read_text(encoding="utf-8")
    assert '0.21 <span class="interval">[0.18, 0.25]</span>' in html
    assert '0.93 <span class="interval">[0.89, –]</span>' in html


def test_nothing_on_the_page_can_act_or_leave(written: Path) -> None:
    whole = written.read_text(encoding="utf-8")
    html = without_own_script(whole)
    reader = _read(html)
    assert not {"script", "img", "image", "iframe", "object", "embed", "link", "form", "base"} & set(reader.tags)
    for name, value in reader.attributes:
        assert not name.lower().startswith("on"), name
        assert name not in {"src", "srcset", "action", "xlink:href"}
        if name == "href":
            assert value is not None
            assert value.startswith("#")
    urls = set(re.findall(r"https?://[^\"'\s<)]+", html))
    assert urls <= {"http://www.w3.org/2000/svg"}
    assert "url(#" in html or "url(" not in html
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    styles = {value for name, value in reader.attributes if name == "style" and value}
    assert set(policy_of(whole)["style-src"]) == {"'unsafe-hashes'", hash_of(style), *map(hash_of, styles)}
    assert not re.search(r"fetch|XMLHttp|WebSocket|innerHTML|eval|import\(|localStorage", SCRIPT)


def test_a_style_that_the_page_does_not_write_itself_is_not_allowed() -> None:
    allowed = _policy('<i style="background:#a9bacb"></i><i style="background:#a9bacb;color:red"></i>')
    assert hash_of("background:#a9bacb") in allowed
    assert hash_of("background:#a9bacb;color:red") not in allowed


def test_model_text_is_escaped_and_visible(written: Path) -> None:
    html = written.read_text(encoding="utf-8")
    assert "<svg onload" not in html
    assert "&lt;/script&gt;&lt;svg onload=alert(1)&gt;" in html
    assert "{{ 7*7 }}" in html
    for control in ("\x00", "\x1b", "\u202e"):
        assert control not in html
    assert "&lt;U+0000&gt;&lt;U+001B&gt;[31m&lt;U+202E&gt;evil⏎next" in html


def test_links_lead_somewhere_and_ids_are_unique(written: Path) -> None:
    reader = _read(written.read_text(encoding="utf-8"))
    identities = [value for name, value in reader.attributes if name == "id"]
    assert len(identities) == len(set(identities))
    assert {value[1:] for name, value in reader.attributes if name == "href" and value} <= set(identities)


def test_open_windows_are_expanded(written: Path) -> None:
    html = written.read_text(encoding="utf-8")
    assert html.count("<details open>") == 3


def test_figures_are_well_formed_and_named_after_their_neuron(written: Path) -> None:
    files = sorted(written.parent.joinpath("figures").glob("*.svg"))
    names = {file.name for file in files}
    assert {"refusal-overview.svg", "refusal-l3-n120-minus-response.svg", "refusal-l3-n120-minus-horizons.svg"} <= names
    assert {"predicted-ceilings.svg", "generic-pass.svg", "language-l4-n301-plus-curve.svg"} <= names
    html = written.read_text(encoding="utf-8")
    for file in files:
        text = file.read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
        assert root.get("viewBox")
        assert root.get("aria-label")
        assert text in html


def test_writing_twice_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    again = write_report(load_document(_trim(synthetic_values())), tmp_path, include_completions=True)
    assert again.read_bytes() == written.read_bytes()


def test_withheld_neurons_appear_nowhere(withheld: Path) -> None:
    hidden = {w["neuron"] for w in synthetic_values()["windows"] if w["behavior"] == "refusal"}
    files = [withheld, *withheld.parent.joinpath("figures").iterdir()]
    for file in files:
        text = file.read_text(encoding="utf-8")
        for neuron in hidden:
            assert not re.search(rf"{re.escape(neuron)}\b", text), (file.name, neuron)
            assert neuron.lower().replace(".", "-") not in file.name
    text = withheld.read_text(encoding="utf-8")
    assert "neuron A" in text
    assert "--include-neurons" in text
    assert "completion withheld" in text
    assert "I am sorry, I cannot" in text, "the other behavior's samples stay"
    assert "copper dial" not in text
    assert "refusal-neuron-a-minus-response.svg" in {file.name for file in files}


def test_figures_of_a_fuller_report_are_removed(tmp_path: Path) -> None:
    values = synthetic_values(organism=False)
    document = load_document(values | {"windows": values["windows"][:1]})
    write_report(document, tmp_path, include_neurons=True)
    assert list(tmp_path.glob("figures/*l3-n120*"))
    (tmp_path / "figures" / "notes.txt").write_text("mine")
    write_report(document, tmp_path)
    assert not list(tmp_path.glob("figures/*l3-n120*"))
    assert (tmp_path / "figures" / "notes.txt").read_text() == "mine"


def test_a_document_of_nulls_is_drawn(tmp_path: Path) -> None:
    values = synthetic_values()
    window = values["windows"][1]
    empty = {
        "ceiling": None,
        "ceiling_interval": None,
        "ceiling_t": None,
        "ceiling_predicted": None,
        "ceiling_predicted_interval": None,
        "predictions": {},
        "height": None,
        "height_interval": None,
        "verdict_probability": None,
        "failure_mode": None,
        "propagation": None,
        "n_eligible": 0,
        "triggers_by_outcome": {},
        "outcomes": {},
        "outcomes_at": None,
        "doses": [],
        "panel": None,
    }
    values["windows"] = [window | empty]
    values["generic"]["layers"] = []
    values["coherence"] = {"thresholds": {}}
    values["coverage"] = {
        "neurons_tested": 1,
        "neurons_total": 4096,
        "open_random": [{"k": 0, "n": 0, "interval": [0, 1]}],
    }
    html = write_report(load_document(values), tmp_path).read_text(encoding="utf-8")
    assert "None of 1 tested neuron opens a control window." in html
    assert "No neuron was tested." in html
    assert "the open rate is not bounded" in html
    assert ">None<" not in html


def test_a_full_disk_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = synthetic_values()
    document = load_document(values | {"windows": values["windows"][:1]})
    target = write_report(document, tmp_path)
    before = target.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReportError, match="No space left") as caught:
        write_report(document.model_copy(update={"seed": 5}), tmp_path)
    assert "space" in caught.value.hint
    assert target.read_bytes() == before
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".part"]


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    values = synthetic_values()
    (tmp_path / "run").write_text("a file")
    with pytest.raises(ReportError, match="cannot be written"):
        write_report(load_document(values | {"windows": values["windows"][:1]}), tmp_path / "run")


def test_the_hostile_text_is_in_the_synthetic_document() -> None:
    samples = [s for w in synthetic_document().windows for s in w.panel.samples]
    assert HOSTILE in {sample.text for sample in samples}


def test_halves_that_a_killed_report_left_are_removed(tmp_path: Path) -> None:
    values = synthetic_values(organism=False)
    document = load_document(values | {"windows": values["windows"][:1]})
    (tmp_path / "figures").mkdir()
    secret = "First, turn the copper dial"
    left = [tmp_path / ".report.html.ab12cd34.part", tmp_path / "figures" / ".refusal-overview.svg.x_9.part"]
    mine = tmp_path / "notes.part"
    for path in (*left, mine):
        path.write_text(secret)
    write_report(document, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_text("utf-8")] == [mine]


def test_notes_that_say_the_same_are_one(tmp_path: Path) -> None:
    ties = "decoding steps had a top-two margin below 1e-4"
    notes = [f"L3.N{place} +1, refusal: {place + 2} {ties}" for place in range(20)]
    values = synthetic_values() | {"notes": ["This run is unfinished.", *notes]}
    html = write_report(load_document(values | {"windows": values["windows"][:1]}), tmp_path).read_text("utf-8")
    assert html.count(ties) == 1
    assert "L3.N0 +1, refusal (2); L3.N1 +1, refusal (3)" in html


def test_no_path_of_this_machine_is_on_a_page(tmp_path: Path) -> None:
    values = synthetic_values()
    values["model"]["source"] = "/home/somebody/models/mine"
    values["configuration"] |= {"source": "/home/somebody/models/mine", "behaviors": [{"source": "~/b/mine.toml"}]}
    html = write_report(load_document(values | {"windows": values["windows"][:1]}), tmp_path).read_text("utf-8")
    assert "somebody" not in html
    assert "~/b" not in html
    assert "mine.toml" in html


def test_labels_stand_out_from_the_page() -> None:
    def light(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for name, color in {**VERDICTS, "muted": MUTED}.items():
        assert 1.05 / (light(color) + 0.05) >= 4.5, name
