"""The example behavior on the real checkpoint: eligibility, judging, and the coherence detector's controls."""

import os
from pathlib import Path

import pytest

from controlwindow.behaviors import (
    CoherenceDetector,
    LabelledFeatures,
    ScoredText,
    build_controls,
    coherence_features,
    fit_thresholds,
    load_behavior,
    shuffle_scale,
)
from controlwindow.behaviors.pairs import prompt_pairs

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT.parent / "shared" / "data" / "models" / "stories260K"
BEHAVIOR = ROOT / "examples" / "stories_dialogue" / "behavior.toml"
real_model = pytest.mark.skipif(not CHECKPOINT.is_dir(), reason="the checkpoint stories260K is not at hand")


def test_the_example_validates_with_its_contrast():
    behavior = load_behavior(BEHAVIOR, needs_contrast=True)
    assert behavior.horizons == (16, 32, 48)
    sizes = {split: len(behavior.prompts(split)) for split in ("find", "select", "evaluate")}
    assert sizes["evaluate"] >= 40
    assert sizes["select"] >= 24
    assert sizes["find"] >= 48
    assert len(behavior.contrast("find").negative) >= 32
    assert not behavior.sensitive


def test_every_pair_is_a_story_and_the_same_story_led_to_direct_speech():
    behavior = load_behavior(BEHAVIOR)
    for split, least in (("find", 32), ("select", 16), ("evaluate", 32)):
        own = {prompt.text for prompt in behavior.prompts(split)}
        pairs = prompt_pairs(behavior, split)
        assert len(pairs) == least
        for pair in pairs:
            assert pair.prompt.text in own
            assert pair.perturbed.text == pair.prompt.text.removesuffix(".") + " and said,"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("They went home and slept.", "unswitched"),
        ('He said, "Hello!"', "switched"),
        ("Then “come in” was heard.", "switched"),
        ("It's Tom's ball.", "unswitched"),
    ],
)
def test_direct_speech_is_told_by_its_opening_mark(text, expected):
    behavior = load_behavior(BEHAVIOR)
    assert behavior.judge(text, behavior.prompts("evaluate")[0], collapsed=False) == expected


class Stories:
    """Greedy and sampled continuations and their scores, plainly with the library's own generate."""

    def __init__(self):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch = torch
        self.tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
        self.model = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()

    def encode(self, text: str) -> list[int]:
        return [1, *self.tokenizer(text, add_special_tokens=False).input_ids]

    def answer(self, prompt: list[int], length: int, sampled: bool = False) -> list[int]:
        ids = self.torch.tensor([prompt])
        options = {"do_sample": True, "top_k": 0, "top_p": 1.0} if sampled else {"do_sample": False}
        found = self.model.generate(
            ids, attention_mask=self.torch.ones_like(ids), max_new_tokens=length, pad_token_id=0, **options
        )[0, len(prompt) :].tolist()
        return found[: found.index(2)] if 2 in found else found

    def score(self, prompt: list[int], answer: tuple[int, ...]) -> ScoredText:
        with self.torch.no_grad():
            logits = self.model(self.torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        chosen = self.torch.tensor(answer)[:, None]
        surprisals = -logits.log_softmax(-1).gather(1, chosen)[:, 0]
        return ScoredText(answer, tuple(surprisals.tolist()), self.tokenizer.decode(answer))


@pytest.fixture(scope="module")
def stories():
    return Stories()


@real_model
def test_most_evaluation_prompts_are_eligible(stories):
    behavior = load_behavior(BEHAVIOR)
    prompts = behavior.prompts("evaluate")
    answers = [
        stories.tokenizer.decode(stories.answer(stories.encode(prompt.text), behavior.horizons[-1]))
        for prompt in prompts
    ]
    outcomes = [behavior.judge(text, prompt, False) for text, prompt in zip(answers, prompts, strict=True)]
    eligible = outcomes.count("unswitched")
    behavior.require_eligible(eligible, len(prompts))
    assert eligible >= 44
    assert set(outcomes) <= {"unswitched", "switched"}


@real_model
def test_the_contrast_prompts_lead_to_direct_speech(stories):
    behavior = load_behavior(BEHAVIOR)
    prompts = behavior.contrast("find").negative[:16]
    answers = [stories.tokenizer.decode(stories.answer(stories.encode(prompt.text), 16)) for prompt in prompts]
    switched = [behavior.judge(text, prompt, False) for text, prompt in zip(answers, prompts, strict=True)]
    assert switched.count("switched") >= 14


@real_model
def test_the_perturbation_brings_direct_speech_about(stories):
    pairs = prompt_pairs(load_behavior(BEHAVIOR), "evaluate")[:16]
    opened = [
        ['"' in stories.tokenizer.decode(stories.answer(stories.encode(side.text), 3)) for side in pair[1:]]
        for pair in pairs
    ]
    assert opened == [[False, True]] * len(pairs)


@real_model
def test_coherence_is_calibrated_on_the_real_model(stories):
    stories.torch.manual_seed(0)
    lengths = (16, 32, 48)
    prompts = [stories.encode(prompt.text) for prompt in load_behavior(BEHAVIOR).prompts("select")[:20]]
    greedy = [stories.answer(prompt, lengths[-1]) for prompt in prompts]
    sampled = [stories.answer(prompt, lengths[-1], sampled=True) for prompt in prompts]
    scored = [
        (control, stories.score(prompts[control.prompt], control.token_ids))
        for control in build_controls(greedy, sampled, lengths)
    ]
    undosed = {(control.prompt, control.length): text for control, text in scored if control.kind == "greedy"}
    pairs = [(text, undosed[control.prompt, control.length]) for control, text in scored if control.kind == "shuffled"]
    scale = shuffle_scale([noise for noise, _ in pairs], [answer for _, answer in pairs])
    # Measured elsewhere on this checkpoint: 8.7 nats per token.
    assert 7.5 < scale < 10.5
    rows = [
        LabelledFeatures(
            control.kind,
            control.collapsed,
            control.prompt,
            control.length,
            coherence_features(text, undosed[control.prompt, control.length], scale),
        )
        for control, text in scored
    ]
    detector, report = fit_thresholds(rows, scale)
    assert isinstance(detector, CoherenceDetector)
    assert report.agreement_interval[0] >= 0.93
    assert report.auc["severity"] >= 0.99
    assert report.false_positive_rate <= 0.1
    assert 0.15 <= detector.mean_excess <= 0.4
    assert 0.2 <= detector.window_excess <= 0.6
    # A story that turns to direct speech is coherent.
    first = prompts[0]
    spoken = tuple(
        stories.tokenizer('"I want to play with you," said the little boy.', add_special_tokens=False).input_ids
    )
    own = stories.score(first, tuple(greedy[0][: len(spoken)]))
    assert not detector.judge(stories.score(first, spoken), own).collapsed
