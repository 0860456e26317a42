from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch

import plain_generation
import tiny_models
from controlwindow.errors import NeuronError, OperationError, UsageError
from controlwindow.instruments import Add, Dose, Inject, Operation, Pin, Scale, generic_pass, rollout
from controlwindow.instruments.rows import Row, roll_out_rows
from controlwindow.models import Model, Neuron, load_model
from tiny_models import PROMPTS

HORIZON = 12


def mixed_doses(model: Model, seed: int = 3) -> list[Operation | tuple[Operation, ...] | None]:
    """Every operation, on different layers and positions, alone and composed."""
    last = model.layers - 1
    generator = torch.Generator().manual_seed(seed)
    size = generic_pass(model).residual_norm[0]
    u, w = torch.randn(2, model.d_model, generator=generator)
    u, w = u / u.norm() * size, w / w.norm() * size
    big = generic_pass(model).budget(model, Neuron(0, 3))
    return [
        None,
        Add(Neuron(0, 3), big),
        Add(Neuron(0, 3), -big, "generated"),
        Dose(Neuron(1, 5), 0.8),
        Dose(Neuron(last, 7), -0.6, "generated"),
        Dose(Neuron(1, 5), 0.0),
        Pin(Neuron(1, 1), 1.5 * big),
        Pin(Neuron(0, 8), -big, "generated"),
        Scale(Neuron(0, 2), 0.0),
        Scale(Neuron(last, 9), -8.0, "generated"),
        Inject(1, u),
        Inject(0, w, "generated"),
        (Add(Neuron(1, 5), big), Scale(Neuron(1, 5), 0.5), Add(Neuron(1, 5), -0.2 * big)),
        (Pin(Neuron(1, 5), big, "generated"), Add(Neuron(1, 5), 0.7 * big)),
        (Add(Neuron(1, 5), 0.7 * big), Pin(Neuron(1, 5), big, "generated")),
        (Dose(Neuron(0, 3), 0.5), Dose(Neuron(last, 4), -0.5, "generated"), Scale(Neuron(0, 11), 3.0)),
        (Inject(0, u), Inject(0, w), Inject(0, w, "generated"), Inject(1, u, "generated")),
        (Inject(1, u), Dose(Neuron(1, 2), 0.4)),
    ]


def assert_equals_plain(model: Model, prompts: tuple[str, ...], doses: list, horizon: int, **options: int) -> None:
    """Tokens, texts and measured cosines equal plain generation up to the first tie of each row; ties are few."""
    out = rollout(model, prompts, doses, max_new_tokens=horizon, **options)
    generic = generic_pass(model)
    rows, ties, differing = 0, 0, 0
    undosed = [tuple(tokens) for tokens in out.token_ids[0]]
    for d, dose in enumerate(doses):
        operations = () if dose is None else dose if isinstance(dose, tuple) else (dose,)
        budgets = {o.neuron: generic.budget(model, o.neuron) for o in operations if isinstance(o, Dose)}
        for p, ids in enumerate(model.token_ids(prompts)):
            plain = plain_generation.generate(model, ids, operations, horizon, budgets)
            decided = plain.first_tie
            mine = out.token_ids[d][p]
            assert mine[:decided] == plain.tokens[:decided], (d, p)
            rows += 1
            differing += tuple(mine) != undosed[p]
            if decided < len(plain.tokens):
                ties += 1
                continue
            assert mine == plain.tokens
            assert out.texts[d][p] == model.tokenizer.decode(plain.tokens, skip_special_tokens=True)
            assert out.ties[d][p] == 0
            if not operations:
                assert math.isnan(out.control_coordinate[d][p])
                assert out.control_coordinates[d][p] == []
                continue
            assert out.control_coordinates[d][p] == pytest.approx(plain.cosines, abs=2e-4)
            mean = sum(plain.cosines) / len(plain.cosines)
            assert out.control_coordinate[d][p] == pytest.approx(mean, abs=2e-4)
    assert ties <= 0.02 * rows + 1
    assert differing >= 0.4 * rows, "the doses hardly did anything, so equality would say nothing"


def with_common_stops(model: Model) -> Model:
    """The same model with end-of-text tokens that it does emit, so that rows stop at different steps."""
    undosed = rollout(model, PROMPTS, mixed_doses(model)[:6], max_new_tokens=HORIZON)
    emitted = Counter(t for group in undosed.token_ids for tokens in group for t in tokens[2:])
    stops = [token for token, _ in emitted.most_common(6)][1::2]
    built = tiny_models.llama_in_hand() if model.family.name == "llama" else tiny_models.gpt2_in_hand()
    built.generation_config.eos_token_id = stops
    return load_model(built, tokenizer=model.tokenizer)


def test_rollouts_equal_plain_generation(tiny: Model) -> None:
    assert_equals_plain(tiny, PROMPTS, mixed_doses(tiny), HORIZON)


def test_rollouts_that_stop_early_equal_plain_generation(tiny: Model) -> None:
    model = with_common_stops(tiny)
    doses = mixed_doses(model)
    assert_equals_plain(model, PROMPTS, doses, HORIZON)
    out = rollout(model, PROMPTS, doses, max_new_tokens=HORIZON)
    lengths = {len(tokens) for group in out.token_ids for tokens in group}
    assert len(lengths) >= 4, "rows were meant to stop at different steps"
    for group in out.token_ids:
        for tokens in group:
            assert not model.stop_ids.intersection(tokens[:-1])
            assert len(tokens) == HORIZON or tokens[-1] in model.stop_ids


def test_rollouts_in_a_chat_template_equal_plain_generation() -> None:
    model = tiny_models.llama(chat_template=tiny_models.CHAT_TEMPLATE, tie_word_embeddings=True)
    assert_equals_plain(model, PROMPTS[:2], mixed_doses(model)[:6], 6)


@pytest.mark.parametrize("rows", [1, 5])
def test_the_size_of_batches_does_not_matter(llama: Model, rows: int) -> None:
    assert_equals_plain(llama, PROMPTS[:3], mixed_doses(llama)[:4], 6, batch_rows=rows)


def test_rollouts_of_a_real_checkpoint_equal_plain_generation(stories: Model) -> None:
    prompts = ("Once upon a time, there was a little girl who", "The old man", "One day, a boy named Tim went to the")
    doses = [
        None,
        Dose(Neuron(1, 20), 0.5),
        Dose(Neuron(3, 100), -0.6, "generated"),
        Dose(Neuron(4, 11), 2.0),
        (Pin(Neuron(2, 7), 4.0), Scale(Neuron(0, 3), 0.0)),
    ]
    assert_equals_plain(stories, prompts, doses, 16)


def test_sampled_rollouts_are_reproducible_by_seed(tiny: Model) -> None:
    doses = [None, Dose(Neuron(0, 3), 0.5)]

    def sample(seed: int) -> list[list[list[int]]]:
        return rollout(tiny, PROMPTS, doses, max_new_tokens=8, sample_seed=seed).token_ids

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)
    assert sample(1) != rollout(tiny, PROMPTS, doses, max_new_tokens=8).token_ids


def test_samples_follow_the_softmax_at_temperature_one(llama: Model) -> None:
    ids = tuple(llama.token_ids(PROMPTS[:1])[0])
    count = 4000
    rows = roll_out_rows(llama, [Row(ids, ())] * count, 1, batch_rows=count, sample_seed=0)
    drawn = torch.bincount(torch.tensor([row.token_ids[0] for row in rows]), minlength=llama.hf_model.config.vocab_size)
    expected = tiny_models.forward(llama, ids)[-1].double().softmax(-1)
    error = (drawn / count - expected).abs()
    assert bool((error < 5 * (expected * (1 - expected) / count).sqrt() + 1e-3).all())
    assert (drawn > 0).sum() > 20


def test_one_prompt_one_token(tiny: Model) -> None:
    out = rollout(tiny, ["bread"], [None], max_new_tokens=1)
    assert out.token_ids == [[[int(tiny_models.forward(tiny, tiny.token_ids(["bread"])[0])[-1].argmax())]]]


def test_undosed_rows_do_not_feel_their_neighbours(tiny: Model) -> None:
    alone = rollout(tiny, PROMPTS, [None], max_new_tokens=HORIZON)
    mixed = rollout(tiny, PROMPTS, [*mixed_doses(tiny)[1:6], None], max_new_tokens=HORIZON)
    assert mixed.token_ids[-1] == alone.token_ids[0]


def test_progress_counts_rows(llama: Model) -> None:
    seen: list[tuple[int, int]] = []
    rollout(llama, PROMPTS, [None, None], max_new_tokens=1, batch_rows=3, progress=lambda *pair: seen.append(pair))
    assert seen == [(3, 8), (6, 8), (8, 8)]


def test_what_cannot_be_rolled_out_is_refused(llama: Model) -> None:
    with pytest.raises(UsageError, match="no prompts"):
        rollout(llama, [], [None])
    with pytest.raises(UsageError, match="at least 1"):
        rollout(llama, PROMPTS, [None], max_new_tokens=0)
    with pytest.raises(NeuronError, match=r"L9\.N0"):
        rollout(llama, PROMPTS, [Add(Neuron(9, 0), 1.0)])
    with pytest.raises(OperationError, match="does not fit"):
        rollout(llama, PROMPTS, [Inject(0, torch.ones(5))])


def test_a_horizon_beyond_the_context_is_refused(tiny: Model) -> None:
    longest = len(tiny.token_ids(["bread"])[0])
    whole = rollout(tiny, ["bread"], [None], max_new_tokens=128 - longest + 1)
    assert whole.token_ids[0][0]
    with pytest.raises(UsageError, match="exceed the context") as caught:
        rollout(tiny, ["bread"], [None], max_new_tokens=128 - longest + 2)
    assert caught.value.hint


def test_a_text_is_one_prompt_and_an_operation_one_dose(llama: Model) -> None:
    dose = Dose(Neuron(1, 5), 0.4)
    expected = rollout(llama, [PROMPTS[0]], [dose], max_new_tokens=4)
    assert rollout(llama, PROMPTS[0], dose, max_new_tokens=4) == expected
    assert (
        rollout(llama, tuple(PROMPTS[:2]), None, max_new_tokens=4).texts
        == rollout(llama, PROMPTS[:2], [None], max_new_tokens=4).texts
    )


@pytest.mark.parametrize("doses", [[0.5], ["L3.N7"], "L3.N7", [[0.5]], [("L3.N7", 0.5)]])
def test_what_is_no_dose_is_refused(llama: Model, doses: Any) -> None:
    with pytest.raises(OperationError, match="is no operation") as caught:
        rollout(llama, PROMPTS[:1], doses)
    assert "cw.Dose" in caught.value.hint


@pytest.mark.parametrize("doses", [[], 0.5])
def test_no_doses_are_refused(llama: Model, doses: Any) -> None:
    with pytest.raises(UsageError, match="no doses"):
        rollout(llama, PROMPTS[:1], doses)


@pytest.mark.parametrize("prompts", [[None], [3], [b"bread"], [["bread"]]])
def test_what_is_no_prompt_is_refused(llama: Model, prompts: Any) -> None:
    with pytest.raises(UsageError, match="not a text"):
        rollout(llama, prompts, [None])


def test_a_dose_of_a_neuron_that_is_not_there_is_refused_before_anything_runs(llama: Model) -> None:
    with pytest.raises(NeuronError, match=r"L99\.N80"):
        rollout(llama, PROMPTS[:1], Dose("L99.N80", 0.5))  # type: ignore[arg-type]


@pytest.mark.parametrize("t", ["0.5", None, True])
def test_a_dose_is_a_number(t: Any) -> None:
    with pytest.raises(OperationError, match="must be a finite number"):
        Dose(Neuron(0, 0), t)
