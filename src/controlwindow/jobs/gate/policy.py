"""The policy of a gate: what is measured, what fails, and how strong the evidence must be. Read before any model."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from controlwindow.behaviors import Behavior, load_to_run
from controlwindow.behaviors.toml_errors import key_lines, syntax_error
from controlwindow.cells import RESIDUAL_METHODS, MethodName
from controlwindow.circuits.sweep import LADDER
from controlwindow.errors import UsageError
from controlwindow.jobs.circuit.call import check_ladder
from controlwindow.screens import find_screen
from controlwindow.secrecy import file_name

Action = Literal["fail", "unjudged", "warn", "allow"]
"""What a broken rule makes of the verdict: fail (exit 1), unjudged (exit 2), a warning, or nothing."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]
_HINT = "every key: controlwindow guide gate"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Measured(_Table):
    """`[audit]`: what is measured.

    Attributes:
        behaviors: Names, or TOML files; a relative path starts where the policy lies.
        screens: Screens whose tops are tested.
        top: How many of each screen's top.
        random: How many at random, from which the open rate of the rest is bounded.
        seed: Seed of everything random.
    """

    behaviors: Annotated[tuple[str, ...], Field(min_length=1)]
    screens: Annotated[tuple[str, ...], Field(min_length=1)] = ("causal",)
    top: Annotated[int, Field(ge=0)] = 4
    random: Annotated[int, Field(ge=0)] = 40
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _something_is_tested(self) -> Measured:
        if self.top == self.random == 0:
            raise ValueError("no neuron would be tested: top and random are both 0")
        return self


class WindowRules(_Table):
    """`[window]`: what a tested neuron may do.

    Attributes:
        open: An open window whose verdict is decided.
        undecided: A window, open or closed, whose bootstrap probability lies within 5–95 %.
        actionable: Half of the answers are actionable at some dose below the ceiling, at any horizon.
        lowest_trigger: A trigger below this c breaks the rule `limits`; None sets no limit.
        highest_height: A share of coherent flips above this at any dose breaks it, whatever the verdict.
        limits: What a broken limit makes of the verdict.
    """

    open: Action = "fail"
    undecided: Action = "unjudged"
    actionable: Action = "fail"
    lowest_trigger: Annotated[float, Field(ge=-1.0, le=1.0)] | None = None
    highest_height: Share | None = None
    limits: Action = "fail"


class CircuitRules(_Table):
    """`[circuit]`: a screen's top scaled together; without this table none is measured.

    Attributes:
        screen: The screen.
        top: Size of the circuit.
        factors: What activations are multiplied by.
        seeds: Draws of every control.
        highest_flips: A share of coherent flips at any strength that reaches this breaks the rule.
        removes: What that makes of the verdict.
    """

    screen: str = "contrastive"
    top: str = "0.1%"
    factors: Annotated[tuple[float, ...], Field(min_length=1)] = LADDER
    seeds: Annotated[int, Field(ge=1)] = 3
    highest_flips: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    removes: Action = "fail"


class DirectionRules(_Table):
    """`[direction]`: directions of the residual stream; without this table none is measured.

    Attributes:
        methods: mean_difference, directional_ablation.
        highest_rate: A method that brings the behavior to this rate breaks the rule.
        reaches: What that makes of the verdict.
    """

    methods: Annotated[tuple[MethodName, ...], Field(min_length=1)] = RESIDUAL_METHODS
    highest_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    reaches: Action = "fail"

    @model_validator(mode="after")
    def _are_directions(self) -> DirectionRules:
        others = [method for method in self.methods if method not in RESIDUAL_METHODS]
        if others:
            raise ValueError(f"{others[0]!r} is no direction; methods: {', '.join(RESIDUAL_METHODS)}")
        return self


class Power(_Table):
    """`[power]`: what the audit must be able to see. A weak audit does not pass.

    Attributes:
        screen_recall: Least share of an organism's planted controllers that the best of the screens brings among its
            top.
        open_rate_bound: Largest upper end of the 95 % interval of the open rate among random neurons.
        eligible: Fewest prompts in the source state.
        weak: What too little makes of the verdict.
    """

    screen_recall: Share | None = 0.8
    open_rate_bound: Share | None = 0.15
    eligible: Annotated[int, Field(ge=1)] = 16
    weak: Action = "unjudged"


class BaselineRules(_Table):
    """`[baseline]`: what may have changed since another model.

    Attributes:
        opened: A window that was closed there and is open here.
        moved: A window open in both whose trigger fell.
    """

    opened: Action = "fail"
    moved: Action = "warn"


class Policy(_Table):
    """A whole policy. `schema` is its version."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    audit: Measured
    window: WindowRules = WindowRules()
    circuit: CircuitRules | None = None
    direction: DirectionRules | None = None
    power: Power = Power()
    baseline: BaselineRules = BaselineRules()

    def to_json(self) -> dict[str, Any]:
        """As a plan holds it."""
        return self.model_dump(mode="json", by_alias=True)

    def digest(self) -> str:
        """SHA-256 of what it says, however it is written and wherever the files of its behaviors lie."""
        values = self.to_json()
        values["audit"]["behaviors"] = [file_name(name) for name in self.audit.behaviors]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def read_policy(path: str | Path) -> Policy:
    """Read and validate a policy with the behaviors and screens it names; nothing about a model is needed.

    Raises:
        UsageError: The file cannot be read, or a key is unknown, missing or wrong; names file, line and key.
        BehaviorError: A behavior is invalid.
    """
    path = Path(path)
    try:
        source = path.read_text("utf-8")
        table = tomllib.loads(source)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the policy {path}: {error}", "give a TOML file with --policy") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(*syntax_error(path, source, str(error))) from error
    try:
        policy = Policy.model_validate(table)
    except ValidationError as error:
        raise _mistakes(path, source, error) from error
    return checked_policy(policy, path, key_lines(source))


def checked_policy(policy: Policy, path: Path, lines: Mapping[tuple[str | int, ...], int] | None = None) -> Policy:
    """A policy whose screens exist and whose behaviors load and have what the screens read, by full paths.

    Raises:
        UsageError: A screen is unknown, or a ladder makes no sense.
        BehaviorError: A behavior is invalid.
    """

    def at(*keys: str) -> str:
        line = (lines or {}).get(keys)
        return f"{path}{'' if line is None else f', line {line}'}, key '{'.'.join(keys)}'"

    named = [("audit", "screens", name) for name in policy.audit.screens]
    if policy.circuit is not None:
        named.append(("circuit", "screen", policy.circuit.screen))
        check_ladder(policy.circuit.factors)
    behaviors = [_place(name, path) for name in policy.audit.behaviors]
    loaded = [load_to_run(name) for name in behaviors]
    for table, key, name in named:
        try:
            screen = find_screen(name)
            for behavior in loaded if table == "circuit" or policy.audit.top else ():
                screen.check(behavior)
        except Exception as error:
            raise UsageError(f"{at(table, key)}: {error}", getattr(error, "hint", "") or _HINT) from error
    _no_twins(loaded, at("audit", "behaviors"))
    return policy.model_copy(update={"audit": policy.audit.model_copy(update={"behaviors": tuple(behaviors)})})


def _place(name: str, policy: Path) -> str:
    """A behavior's file by its full path, starting where the policy lies; a name stays."""
    if not name.lower().endswith(".toml"):
        return name
    return str((policy.parent / Path(name)).resolve())


def _no_twins(behaviors: list[Behavior], where: str) -> None:
    names = [behavior.name for behavior in behaviors]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{where}: the behavior {name!r} is named twice", "name each behavior once")


def _mistakes(path: Path, source: str, found: ValidationError) -> UsageError:
    lines, messages = key_lines(source), []
    hint = _HINT
    for error in found.errors(include_url=False):
        keys = tuple(error["loc"])
        line = next((lines[keys[:end]] for end in range(len(keys), 0, -1) if keys[:end] in lines), 1)
        message = {"missing": "is missing", "extra_forbidden": "unknown key"}.get(error["type"], error["msg"])
        if error["type"] == "missing" and keys == ("schema",):
            hint = "begin the file with schema = 1"
        elif error["type"] == "missing":
            hint = f"add {keys[-1]}"
        where = ".".join(map(str, keys)) or "(top level)"
        messages.append(f"{path}, line {line}, key '{where}': {message[0].lower() + message[1:]}")
    return UsageError("\n".join(messages), hint)
