from __future__ import annotations

import pytest
import torch

import tiny_models
from controlwindow.instruments import Add, Dose, Inject, Pin, Scale, generic_pass
from controlwindow.instruments.decoding import CHECK_EVERY, Decoding, RowRollout
from controlwindow.instruments.dosing import row_operations
from controlwindow.instruments.routes import Row, route
from controlwindow.instruments.sharing import NEVER
from controlwindow.models import Model, Neuron
from tiny_models import PROMPTS

HORIZON = 14


def rows_of(model: Model, repeats: int = 1) -> list[Row]:
    """Doses of several layers, sizes and positions on prompts of different length, some of them too small to show."""
    last = model.layers - 1
    doses = [
        None,
        None,
        Dose(Neuron(0, 3), 0.0),
        Dose(Neuron(0, 3), 1e-7),
        Dose(Neuron(1, 5), 0.02),
        Dose(Neuron(1, 5), 0.9),
        Dose(Neuron(last, 7), -0.02, "generated"),
        Dose(Neuron(last, 7), -0.9),
        Add(Neuron(0, 1), 0.5, "generated"),
        Pin(Neuron(1, 2), 1.0),
        Scale(Neuron(0, 2), 0.0),
        Scale(Neuron(0, 2), 1.0),
        (Dose(Neuron(0, 3), 0.3, "generated"), Dose(Neuron(last, 4), 0.3)),
        Inject(0, torch.ones(model.d_model)),
    ]
    ids = [tuple(i) for i in model.token_ids(PROMPTS)]
    return [Row(prompt, row_operations(model, dose)) for _ in range(repeats) for prompt in ids for dose in doses]


def decode(model: Model, rows: list[Row], **options: object) -> list[RowRollout]:
    return Decoding(model, rows, HORIZON, **{"batch_rows": 512, **options}).run()  # type: ignore[arg-type]


def assert_same(found: list[RowRollout], expected: list[RowRollout]) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        if mine.ties or theirs.ties:
            continue
        assert mine.token_ids == theirs.token_ids
        assert mine.coordinates == pytest.approx(theirs.coordinates, abs=1e-4)


def test_sharing_changes_no_token(tiny: Model) -> None:
    rows = rows_of(tiny)
    alone = decode(tiny, rows, share=False)
    assert sum(row.ties > 0 for row in alone) < 0.1 * len(rows)
    assert len({row.token_ids for row in alone}) > len(rows) // 3
    assert_same(decode(tiny, rows), alone)


@pytest.mark.parametrize("batch_rows", [1, 3, 7, 20])
def test_waiting_rows_are_taken_in(tiny: Model, batch_rows: int) -> None:
    model = tiny
    rows = rows_of(model, repeats=2)
    whole = decode(model, rows)
    seen: list[tuple[int, int]] = []
    found = decode(model, rows, batch_rows=batch_rows, progress=lambda *pair: seen.append(pair))
    assert_same(found, whole)
    assert seen[-1] == (len(rows), len(rows))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_a_full_buffer_makes_room(llama: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from controlwindow.instruments import decoding

    monkeypatch.setattr(decoding, "SPARE_COLUMNS", 1)
    monkeypatch.setattr(decoding, "REFILL_SHARE", 0.01)
    rows = rows_of(llama, repeats=2)
    # Rows that stop at once, so that others come in while the rest goes on.
    stop = decode(llama, rows, batch_rows=5, stop_when=lambda row, tokens: row % 3 == 0)
    whole = decode(llama, rows)
    for number, (cut, full) in enumerate(zip(stop, whole, strict=True)):
        if full.ties or cut.ties:
            continue
        assert cut.cut == (number % 3 == 0 and len(full.token_ids) > CHECK_EVERY)
        assert cut.token_ids == (full.token_ids[:CHECK_EVERY] if cut.cut else full.token_ids)
        assert len(cut.coordinates) in (0, len(cut.token_ids))


@pytest.mark.parametrize("batch_rows", [5, 512])
@pytest.mark.parametrize("share", [True, False])
def test_drafts_change_no_token(tiny: Model, share: bool, batch_rows: int) -> None:
    rows = rows_of(tiny)
    whole = decode(tiny, rows, share=share)
    generator = torch.Generator().manual_seed(1)
    size = tiny.hf_model.config.vocab_size
    drafted = []
    for number, (row, found) in enumerate(zip(rows, whole, strict=True)):
        right = found.token_ids
        wrong = tuple(torch.randint(0, size, (HORIZON,), generator=generator).tolist())
        kinds = [right, wrong, right[: number % 7], right[:3] + wrong, (), whole[number - 1].token_ids, right + wrong]
        # A row that turns from its draft may begin again with another text, of which the last is right.
        more = ((*right[:2], *wrong), right) if number % 2 else ()
        drafted.append(row._replace(draft=kinds[number % len(kinds)], more_drafts=more))
    found = decode(tiny, drafted, share=share, batch_rows=batch_rows)
    assert_same(found, whole)
    for mine, theirs in zip(found, whole, strict=True):
        assert len(mine.coordinates) == len(theirs.coordinates)


@pytest.mark.parametrize("batch_rows", [4, 512])
def test_rows_may_end_with_their_draft(llama: Model, batch_rows: int) -> None:
    rows = [row for row in rows_of(llama) if all(o.positions == "all" for o in row.operations)]
    whole = decode(llama, rows)
    drafted = [row._replace(draft=found.token_ids) for row, found in zip(rows, whole, strict=True)]
    assert_same(decode(llama, drafted, batch_rows=batch_rows), whole)


def test_a_confirmed_draft_is_one_pass(llama: Model) -> None:
    rows = rows_of(llama)[:14]
    whole = decode(llama, rows)
    passes = 0

    def count(*_args: object) -> None:
        nonlocal passes
        passes += 1

    handle = llama.blocks[0].register_forward_hook(count)
    try:
        decode(llama, [row._replace(draft=found.token_ids) for row, found in zip(rows, whole, strict=True)])
    finally:
        handle.remove()
    # The prompt without its last token, then that token with the draft; ties may cost a few steps more.
    assert passes <= 4
    assert len(whole[0].token_ids) == HORIZON
    assert len({row.prompt_ids for row in rows}) == 1


def test_a_row_that_turns_to_another_text_is_two_passes(llama: Model) -> None:
    rows = [row for row in rows_of(llama)[:14] if all(o.positions == "all" for o in row.operations)]
    whole = decode(llama, rows)
    assert any(len(row.token_ids) == HORIZON for row in whole)
    passes = 0

    def count(*_args: object) -> None:
        nonlocal passes
        passes += 1

    drafted = [
        row._replace(draft=(*found.token_ids[:2], 5, 6), more_drafts=((7,) * 12, found.token_ids))
        for row, found in zip(rows, whole, strict=True)
    ]
    handle = llama.blocks[0].register_forward_hook(count)
    seen: list[tuple[int, int]] = []
    try:
        assert_same(decode(llama, drafted, progress=lambda *pair: seen.append(pair)), whole)
    finally:
        handle.remove()
    assert passes <= 4
    assert seen[-1] == (len(rows), len(rows))


def test_rows_are_cut_at_the_same_token_with_and_without_a_draft(llama: Model) -> None:
    rows = rows_of(llama)
    whole = decode(llama, rows)
    drafted = [row._replace(draft=found.token_ids) for row, found in zip(rows, whole, strict=True)]

    def stop(row: int, tokens: object) -> bool:
        return len(tokens) >= 2 * CHECK_EVERY and row % 2 == 0  # type: ignore[arg-type]

    plain, quick = decode(llama, rows, stop_when=stop), decode(llama, drafted, stop_when=stop)
    assert_same(quick, plain)
    assert [row.cut for row in quick] == [row.cut for row in plain]
    assert any(row.cut for row in plain)


def test_a_sliding_window_takes_no_drafts() -> None:
    model = tiny_models.llama()
    model.hf_model.config.sliding_window = 20
    rows = [row._replace(draft=(5, 6, 7)) for row in rows_of(model)]
    assert Decoding(model, rows, HORIZON, batch_rows=8)._drafts == [()] * len(rows)
    model.hf_model.config.sliding_window = 200
    assert Decoding(model, rows, HORIZON, batch_rows=8)._drafts == [(5, 6, 7)] * len(rows)


def test_samples_do_not_depend_on_the_batch(tiny: Model) -> None:
    rows = rows_of(tiny)
    whole = decode(tiny, rows, sample_seed=3)
    assert_same(decode(tiny, rows, sample_seed=3, batch_rows=6), whole)
    assert_same(decode(tiny, rows, sample_seed=3, share=False), whole)
    assert decode(tiny, rows, sample_seed=4) != whole
    # Rows 0 and 1 are the same undosed prompt: they share lanes until their samples differ.
    assert whole[0].token_ids != whole[1].token_ids


def test_shared_layers_are_computed_once(llama: Model) -> None:
    ids = tuple(llama.token_ids(PROMPTS[:1])[0])
    budget = generic_pass(llama).budget(llama, Neuron(1, 5))
    rows = [Row(ids, (Add(Neuron(1, 5), share * budget),)) for share in (0.0, 1e-7, 2e-7, 3e-7)]
    batches: dict[int, list[int]] = {0: [], 1: [], 2: []}
    handles = [
        block.register_forward_hook(lambda _m, args, _o, layer=layer: batches[layer].append(len(args[0])))
        for layer, block in enumerate(llama.blocks)
    ]
    try:
        found = decode(llama, rows)
    finally:
        for handle in handles:
            handle.remove()
    assert len({row.token_ids for row in found}) == 1
    # One lane up to and including the dosed block 1; from there the undosed lane and one a dose.
    assert set(batches[0]) == set(batches[1]) == {1}
    assert set(batches[2]) == {4}
    assert len(batches[0]) == HORIZON


def test_routes(llama: Model) -> None:
    def found(*operations: object) -> tuple[int, int, int]:
        way = route(llama, operations, True)  # type: ignore[arg-type]
        return way.head_from, way.own_from, len(way.hooked)

    n, m = Neuron(0, 1), Neuron(2, 1)
    assert found() == (NEVER, NEVER, 0)
    assert found(Add(n, 0.0)) == (NEVER, NEVER, 0)
    assert found(Scale(n, 1.0)) == (NEVER, NEVER, 0)
    assert found(Add(n, 1.0)) == (1, 1, 0)
    assert found(Add(m, 1.0)) == (3, 3, 0)
    assert found(Add(m, 1.0, "generated")) == (NEVER, 3, 0)
    assert found(Pin(m, 1.0)) == (2, 2, 1)
    assert found(Pin(m, 1.0, "generated")) == (NEVER, 2, 1)
    assert found(Add(n, 1.0), Pin(m, 1.0)) == (1, 1, 1)
    assert found(Add(n, 1.0, "generated"), Pin(m, 1.0)) == (2, 1, 1)
    assert found(Add(n, 1.0, "generated"), Add(n, 1.0)) == (0, 0, 2)
    assert route(llama, (Add(n, 1.0),), False).own_from == 0


def test_the_model_comes_back_as_it_was(tiny: Model) -> None:
    before = tiny_models.state_bytes(tiny)
    ids = tiny.token_ids(PROMPTS[:1])[0]
    logits = tiny_models.forward(tiny, ids)
    decode(tiny, rows_of(tiny))
    with pytest.raises(ZeroDivisionError):
        decode(tiny, rows_of(tiny), stop_when=lambda _row, _tokens: bool(1 // 0))
    assert tiny_models.hook_count(tiny) == 0
    assert tiny_models.state_bytes(tiny) == before
    assert torch.equal(tiny_models.forward(tiny, ids), logits)
