from __future__ import annotations

import pytest

from controlwindow.circuits.budget import ProbeSettings, check_ladder, default_ladder, spread_layers
from controlwindow.errors import UsageError


def settings(**changes) -> ProbeSettings:
    values = {
        "behavior": "mode",
        "ladder": (1, 2, 4, 8, 16),
        "factors": (2.0, 3.0),
        "layers": (0, 1, 2, 3),
        "strengths": (0.1, 0.4),
        "pairs": {"find": tuple(f"f{i}" for i in range(64)), "select": tuple(f"s{i}" for i in range(16)),
                  "evaluate": tuple(f"e{i}" for i in range(32))},
        "prompts": {"select": tuple(f"s{i}" for i in range(16)), "evaluate": tuple(f"e{i}" for i in range(32))},
        "undosed": 48,
        "texts": 1,
        "shuffled_texts": (1, 5),
        "answers": 0,
        "contrast": 128,
        "random_draws": 3,
        "shuffled": ("mode.shuffled0", "mode.shuffled1"),
        "positions": "all",
        "horizon": 8,
        "source_outcome": "unswitched",
        "target_outcomes": ("switched",),
        "seed": 0,
    }  # fmt: skip
    return ProbeSettings(**{**values, **changes})


@pytest.mark.parametrize("passes", [3000, 2200, 1800])
def test_a_budget_is_kept_to_without_giving_up_controls(passes: int) -> None:
    whole = settings()
    assert whole.passes.total > 3000
    thinner = whole.within(passes)
    assert thinner.passes.total <= passes
    assert (thinner.random_draws, thinner.shuffled) == (3, ("mode.shuffled0", "mode.shuffled1"))
    assert thinner.ladder[-1] == 16
    assert thinner.layers[-1] == 3
    for split in ("find", "select", "evaluate"):
        assert thinner.pairs[split] == whole.pairs[split][: len(thinner.pairs[split])]


def test_no_budget_changes_nothing() -> None:
    assert settings().within(None) == settings()
    assert settings().within(10**6) == settings()


def test_too_small_a_budget_says_what_is_needed() -> None:
    with pytest.raises(UsageError, match=r"takes at least \d+ passes") as caught:
        settings().within(200)
    needed = int(str(caught.value).split("at least ")[1].split()[0])
    assert settings().within(needed).passes.total <= needed


def test_ladders() -> None:
    assert default_ladder(3072)[-1] == 64
    large = default_ladder(458_752)
    assert large[0] == 1
    assert len(large) == 10
    assert check_ladder([4, 1, 4], 10) == (1, 4)
    for sizes, message in (([], "leave no circuit"), ([0, 1], "leave no circuit"), ([11], "exceeds")):
        with pytest.raises(UsageError, match=message):
            check_ladder(sizes, 10)
    assert spread_layers(3) == (0, 1, 2)
    assert (spread_layers(32)[0], spread_layers(32)[-1], len(spread_layers(32))) == (0, 31, 8)
