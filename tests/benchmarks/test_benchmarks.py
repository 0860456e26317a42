"""The benchmarks: what is compared, how equality is judged, what is counted and printed. Nothing is timed here."""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks import floor
from benchmarks.__main__ import keep
from benchmarks.contenders import Done, Local
from benchmarks.equality import compare
from benchmarks.figure import draw
from benchmarks.grid import against
from benchmarks.peers.protocol import in_batches, read_job
from benchmarks.results import Line, Part, Results, Standing
from benchmarks.searching import overlap
from benchmarks.tables import insert, markdown, show
from benchmarks.timing import Aim, Timing, ratio, take_turns
from benchmarks.work import Settings, organism, organism_directory, organism_grid, spread
from controlwindow.instruments.generic import generic_pass

TOKENS = [[[5, 6, 7, 2], [5, 9]], [[5, 6, 8, 8], [4, 4, 4, 2]]]
MARGINS = [[[1.0, 1.0, 1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0, 5e-5, 1.0], [1.0, 1.0, 1.0, 1.0]]]


def test_doses_are_evenly_spaced_in_the_coordinate() -> None:
    doses = spread(12)
    coordinates = [t / math.hypot(1, t) for t in doses]
    steps = [b - a for a, b in pairwise(coordinates)]
    assert doses[0] == pytest.approx(0.05)
    assert doses[-1] == pytest.approx(4.5)
    assert max(steps) == pytest.approx(min(steps))


def test_the_grid_is_the_same_work_for_the_engine_and_for_peers(tmp_path: Path) -> None:
    model = organism()
    grid = organism_grid(model)
    assert (len(grid.alphas), len(grid.prompts), grid.size, grid.horizon) == (12, 16, 192, 32)
    budget = generic_pass(model).budget(model, grid.neuron)
    assert [-alpha / budget for alpha in grid.alphas] == pytest.approx(list(spread(12)))
    job = grid.job(model, organism_directory(), Settings(threads=1, repeats=1))
    (tmp_path / "job.json").write_text(json.dumps(asdict(job)), "utf-8")
    assert read_job(tmp_path / "job.json") == job
    rows = [(job.alphas[dose], tuple(job.prompts[prompt])) for dose, prompt in job.rows()]
    assert rows == [(row.operations[0].alpha, row.prompt_ids) for row in grid.rows()]
    assert {str(row.operations[0].neuron) for row in grid.rows()} == {f"L{job.layer}.N{job.neuron}"}


@pytest.mark.parametrize("size", [1, 3, 5, 100])
def test_rows_come_back_where_they_belong_however_they_are_batched(size: int) -> None:
    model = organism()
    job = organism_grid(model, quick=True).job(model, organism_directory(), Settings(threads=1, repeats=1))
    stop = job.stop_ids[0]

    def generate(rows: list[tuple[int, int]]) -> list[list[int]]:
        assert len(rows) <= size
        return [[100 + dose, 200 + prompt, stop, 7, 7] for dose, prompt in rows]

    found = in_batches(job, generate, size, order=job.rows()[::-1])
    assert found == [[[100 + dose, 200 + prompt, stop] for prompt in range(4)] for dose in range(3)]


def test_equal_tokens_are_equal() -> None:
    found = compare(TOKENS, MARGINS, TOKENS)
    assert found.equal
    assert (found.rows, found.ties, found.first) == (4, 1, None)


def changed(dose: int, prompt: int, tokens: list[int]) -> list[list[list[int]]]:
    copied = [[list(row) for row in rows] for rows in TOKENS]
    copied[dose][prompt] = tokens
    return copied


def test_a_tie_ends_the_comparison_of_its_row_only() -> None:
    assert compare(TOKENS, MARGINS, changed(1, 0, [5, 6, 9])).equal
    assert compare(TOKENS, MARGINS, changed(1, 0, [5, 1, 9])).first == (1, 0, 1)


@pytest.mark.parametrize(("tokens", "step"), [([5, 6, 7], 3), ([5, 6, 7, 2, 2], 4), ([5, 6, 1, 2], 2), ([], 0)])
def test_a_difference_or_another_length_is_unequal(tokens: list[int], step: int) -> None:
    found = compare(TOKENS, MARGINS, changed(0, 0, tokens))
    assert (found.equal, found.different, found.first) == (False, 1, (0, 0, step))
    assert f"step {step}" in str(found)


def counted_one_by_one(sizes: floor.Sizes, lengths: list[int], tokens: Any, layer: int, shared: bool) -> int:
    """Multiply-adds, position by position and layer by layer; what was computed for a row before is looked up."""
    s, total, known = sizes, 0, set()
    width = s.heads * s.head_dim
    keys = 2 * s.d_model * s.key_heads * s.head_dim
    rest = 2 * s.d_model * width + 3 * s.d_model * s.ffn
    for dose, rows in enumerate(tokens):
        for prompt, generated in enumerate(rows):
            for token in range(len(generated)):
                total += s.d_model * s.vocabulary
                first, last = (0, lengths[prompt]) if token == 0 else (lengths[prompt] + token - 1,) * 2
                for position in range(first, last if token == 0 else last + 1):
                    for block in range(s.layers):
                        agreed = (prompt, tuple(generated[:token]), position, block)
                        key = agreed if shared and block <= layer else (dose, *agreed)
                        if key in known:
                            continue
                        known.add(key)
                        total += keys
                        if block < s.layers - 1 or position == (lengths[prompt] - 1 if token == 0 else position):
                            total += rest + 2 * width * (position + 1)
    return total


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    layer=st.integers(0, 3),
    shared=st.booleans(),
    data=st.data(),
)
def test_the_floor_counts_what_a_count_one_by_one_finds(
    lengths: list[int], layer: int, shared: bool, data: st.DataObject
) -> None:
    sizes = floor.Sizes(layers=4, d_model=8, ffn=12, heads=4, key_heads=2, head_dim=3, vocabulary=7)
    row = st.lists(st.integers(0, 1), min_size=1, max_size=5)
    rows = st.lists(row, min_size=len(lengths), max_size=len(lengths))
    tokens = data.draw(st.lists(rows, min_size=1, max_size=3))
    needs = floor.count(sizes, lengths, tokens, layer, shared=shared)
    assert floor.operations(needs) == counted_one_by_one(sizes, lengths, tokens, layer, shared)
    for need in needs:
        assert need.operations <= need.times * need.shape.operations + 1e-6


def test_sharing_saves_operations_and_the_floor_takes_time() -> None:
    sizes = floor.Sizes(layers=4, d_model=8, ffn=12, heads=4, key_heads=2, head_dim=3, vocabulary=7)
    tokens = [[[1, 2, 3], [4, 5]]] * 3
    shared, alone = (floor.count(sizes, [3, 5], tokens, 3, shared=shared) for shared in (True, False))
    assert floor.operations(shared) < floor.operations(alone)
    model = organism()
    assert floor.seconds(shared, model.dtype) > 0
    assert floor.sizes_of(model.hf_model.config) == floor.Sizes(8, 128, 384, 4, 4, 32, 1792)


def test_contenders_take_turns() -> None:
    order: list[str] = []
    contenders = [Local(name, name, lambda name=name: order.append(name)) for name in "abc"]  # type: ignore[misc]
    timings = take_turns(contenders, 2)
    assert order == list("abcabc")
    assert {name: len(t.seconds) for name, t in timings.items()} == {"a": 2, "b": 2, "c": 2}


def test_a_slow_contender_drops_out_of_further_rounds() -> None:
    class Slow:
        name = title = "slow"

        def run(self) -> Done:
            return Done(100.0)

    assert take_turns([Slow()], 5)["slow"].seconds == (100.0, 100.0)


def test_ratios_are_of_medians_with_their_range_over_rounds() -> None:
    slow, fast = Timing("slow", "Slow", (4.0, 6.0, 9.0)), Timing("fast", "Fast", (2.0, 1.0, 3.0))
    assert ratio(slow, fast) == (3.0, 2.0, 6.0)
    assert ratio(slow, fast, fast) == (1.5, 1.0, 3.0)
    assert Aim("at least", 3).met(3.0)
    assert not Aim("at most", 1.05).met(1.06)


def results() -> Results:
    timings = {
        name: Timing(name, title, seconds)
        for name, title, seconds in (
            ("controlwindow", "controlwindow", (1.0, 1.0)),
            ("rows", "Rows", (1.5, 1.5)),
            ("other", "Other", (3.0, 3.5)),
            ("one_row", "One row", (50.0, 50.0)),
        )
    }
    standings = [
        Standing("rows", "Rows", "equal", "equal in 4 rows", {"torch": "2"}),
        Standing("gone", "Gone", "unavailable", "ModuleNotFoundError: no | module"),
    ]
    part = Part(
        "grid", "grid: 2 | 2", against("grid", timings, (2, 6, 40)), list(timings.values()), standings, {"rows": 4}
    )
    hooks = Part("hooks", "hooks", [Line("hooks", ratio(timings["rows"], timings["rows"]), Aim("at most", 1.05))])
    return Results({"processor": "abacus"}, {"threads": 1}, [part, hooks])


def test_the_strongest_baseline_is_the_fastest_of_the_others() -> None:
    first, second = results().parts[0].lines
    assert first.ratio.value == pytest.approx(1.5)
    assert "Rows" in first.note
    assert first.verdict == "missed"
    assert (second.what, second.verdict) == ("grid, against one prompt and one dose", "met")


def test_results_are_kept_as_json_markdown_and_a_figure(tmp_path: Path) -> None:
    keep(results(), tmp_path / "results", "latest")
    document = json.loads((tmp_path / "results" / "latest.json").read_text("utf-8"))
    grid = document["parts"][0]
    assert grid["lines"][0]["ratio"] == pytest.approx(1.5)
    assert grid["timings"][3]["median"] == 50.0
    assert grid["standings"][1]["reason"] == "ModuleNotFoundError: no | module"
    text = (tmp_path / "results" / "latest.md").read_text("utf-8")
    assert "| grid, against the strongest baseline | 1.50 (1.50–1.50) | ≥ 2 | missed |" in text
    assert "| Gone | unavailable | ModuleNotFoundError: no \\| module |" in text
    svg = (tmp_path / "results" / "latest.svg").read_text("utf-8")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert all(title in svg for title in ("Rows", "Other", "One row"))
    assert draw(Results({}, {}, [Part("hooks", "hooks")])) is None


def test_the_terminal_shows_what_the_markdown_shows() -> None:
    console = Console(file=io.StringIO(), width=300)
    show(results(), console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    for words in ("grid, against the strongest baseline", "1.50 (1.50–1.50)", "missed", "no | module", "abacus"):
        assert words in printed


def test_tables_replace_what_is_between_the_markers_of_the_page(tmp_path: Path) -> None:
    shipped = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
    page = tmp_path / "performance.md"
    page.write_text(shipped.read_text("utf-8"), "utf-8")
    insert(page, "FIRST")
    insert(page, markdown(results()))
    text = page.read_text("utf-8")
    assert "FIRST" not in text
    assert "grid, against the strongest baseline" in text
    before, after = shipped.read_text("utf-8").split("<!-- benchmarks: begin -->")[0], "## Where the time goes"
    assert text.startswith(before)
    assert after in text
    page.write_text("nothing", "utf-8")
    with pytest.raises(ValueError, match="no lines"):
        insert(page, "x")


def test_brackets_overlap_when_they_can_hold_the_same_threshold() -> None:
    assert overlap((0.1, 0.2), (0.15, 0.3))
    assert overlap((0.1, 0.2), (0.2, 0.3))
    assert not overlap((0.1, 0.2), (0.21, 0.3))
    assert overlap(None, None)
    assert not overlap(None, (0.1, 0.2))
