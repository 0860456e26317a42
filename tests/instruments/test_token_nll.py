from __future__ import annotations

import pytest
import torch

import tiny_models
from controlwindow.instruments import scoring, token_nll
from controlwindow.models import Model
from tiny_models import PROMPTS


def plain_nll(model: Model, prompt: list[int], tokens: list[int]) -> list[float]:
    """One row at a time, one whole forward pass."""
    logits = tiny_models.forward(model, [*prompt, *tokens]).log_softmax(-1)
    return [-float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(tokens)]


def cases(model: Model) -> tuple[list[list[int]], list[list[int]]]:
    prompts = model.token_ids(PROMPTS)
    size = model.hf_model.config.vocab_size
    generator = torch.Generator().manual_seed(0)
    rows, texts = [], []
    for row in range(17):
        rows.append(list(prompts[row % len(prompts)]))
        texts.append(torch.randint(0, size, (row % 7,), generator=generator).tolist())
    return rows, texts


@pytest.mark.parametrize("batch_rows", [1, 3, 128])
def test_scores_equal_one_pass_a_row(tiny: Model, batch_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Slices of a few positions, so that they are joined again.
    monkeypatch.setattr(scoring, "_LOGITS", 3 * tiny.hf_model.config.vocab_size)
    prompts, texts = cases(tiny)
    found = token_nll(tiny, prompts, texts, batch_rows=batch_rows)
    assert [len(values) for values in found] == [len(tokens) for tokens in texts]
    for prompt, tokens, values in zip(prompts, texts, found, strict=True):
        assert values == pytest.approx(plain_nll(tiny, prompt, tokens), abs=2e-4)


def test_nothing_to_score(tiny: Model) -> None:
    assert token_nll(tiny, [], []) == []
    assert token_nll(tiny, [[1, 5]], [[]]) == [[]]


def test_a_real_checkpoint_scores_as_plainly(stories: Model) -> None:
    prompts = stories.token_ids(["Once upon a time,", "The old man", "Once upon a time,"])
    texts = [stories.tokenizer(t, add_special_tokens=False)["input_ids"] for t in (" there was a cat.", "", " he ran")]
    found = token_nll(stories, prompts, texts)
    for prompt, tokens, values in zip(prompts, texts, found, strict=True):
        assert values == pytest.approx(plain_nll(stories, prompt, tokens), abs=2e-4)


def test_what_begins_another_text_is_not_read_again(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = list(tiny.token_ids(PROMPTS)[0])
    texts = [[5, 6, 7, 8], [5], [5, 6, 7], [5, 9], [6], [5, 6, 7, 8], []]
    passed: list[int] = []
    monkeypatch.setattr(
        scoring,
        "_continue",
        lambda m, r, lanes, rows, _own=scoring._continue: passed.extend(map(len, rows)) or _own(m, r, lanes, rows),
    )
    found = token_nll(tiny, [prompt] * len(texts), texts)
    assert sorted(passed) == [1, 2, 4]
    for tokens, values in zip(texts, found, strict=True):
        assert values == pytest.approx(plain_nll(tiny, prompt, tokens), abs=2e-4)
    assert found[1] == found[0][:1]
    assert found[2] == found[5][:3]
