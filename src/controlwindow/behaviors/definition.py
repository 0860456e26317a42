"""What a behavior file says (`BehaviorDefinition`) and what it becomes with its prompts read (`Behavior`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, model_validator
from pydantic_core import PydanticCustomError

from controlwindow.behaviors.contrasts import LogOdds as LogOdds
from controlwindow.behaviors.contrasts import Perturbation as Perturbation
from controlwindow.behaviors.languages import checked_language
from controlwindow.behaviors.oracles import AnyOracle, OracleContext
from controlwindow.behaviors.oracles.registry import provenance
from controlwindow.behaviors.outcomes import (
    ABSTAINED,
    COLLAPSED,
    OUTCOME_TYPES,
    Answer,
    Known,
    OutcomeKind,
    OutcomeType,
    Request,
    ask_many,
    judge_outcomes,
)
from controlwindow.behaviors.prompts import (
    SPLITS,
    Contrast,
    Prompt,
    Role,
    Split,
    fingerprint_json,
    fingerprint_prompts,
    prompt_record,
)
from controlwindow.behaviors.sources import ContrastSources, PromptSources
from controlwindow.behaviors.swapping import swap_in_last_turn
from controlwindow.behaviors.text import whole_words
from controlwindow.errors import BehaviorError

#: Fewest prompts on either side of a contrast that screens accept.
MINIMUM_CONTRAST = 8
#: Fewest evaluation prompts of any behavior.
MINIMUM_EVALUATE = 16
#: What a behavior may be called.
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
LONGEST_NAME = 64

_FROZEN = ConfigDict(frozen=True, extra="forbid")


def _ascending(values: tuple[int, ...]) -> tuple[int, ...]:
    if any(later <= earlier for earlier, later in pairwise(values)):
        raise PydanticCustomError("not_ascending", "horizons must ascend, each once")
    return values


def _languages(codes: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(codes)) < len(codes):
        raise PydanticCustomError("twice", "each language stands once")
    return tuple(map(checked_language, codes))


class BehaviorDefinition(BaseModel):
    """A behavior file, field by field."""

    model_config = _FROZEN

    name: Annotated[str, Field(pattern=NAME, max_length=LONGEST_NAME)]
    description: str = ""
    sensitive: Annotated[bool, Strict()] = False
    languages: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_languages)] = ("en",)
    horizons: Annotated[
        tuple[Annotated[int, Strict(), Field(ge=1, le=4096)], ...], Field(min_length=1), AfterValidator(_ascending)
    ]
    threshold: Annotated[float, Strict(), Field(gt=0.0, lt=1.0)] = 0.5
    positions: Literal["all", "generated"] = "all"
    outcomes: OutcomeKind = "switch"
    minimum_eligible: Annotated[int, Strict(), Field(ge=1)] = MINIMUM_EVALUATE
    oracles: dict[str, AnyOracle]
    prompts: PromptSources
    contrast: ContrastSources | None = None
    log_odds: LogOdds | None = None
    perturbation: Perturbation | None = None
    agreement: dict[str, Annotated[str, Field(min_length=1)]] = {}

    @model_validator(mode="after")
    def _agreement_of_oracles(self) -> BehaviorDefinition:
        for name in self.agreement:
            if name not in self.oracles:
                raise PydanticCustomError(
                    "agreement",
                    "'{name}' is no oracle of this behavior",
                    {"name": name, "key": f"agreement.{name}"},
                )
        return self

    @model_validator(mode="after")
    def _oracles_of_the_kind(self) -> BehaviorDefinition:
        kind = OUTCOME_TYPES[self.outcomes]
        for name in kind.required:
            if name not in self.oracles:
                _refuse("missing", f"oracles.{name}", f"outcomes '{self.outcomes}' need the oracle '{name}'")
        for name in self.oracles:
            if name not in (*kind.required, *kind.optional):
                known = ", ".join((*kind.required, *kind.optional))
                _refuse("extra", f"oracles.{name}", f"outcomes '{self.outcomes}' have the oracles {known}, no '{name}'")
        return self

    @model_validator(mode="after")
    def _languages_that_oracles_know(self) -> BehaviorDefinition:
        for name, oracle in self.oracles.items():
            misfit = oracle.misfit(self.languages)
            if misfit is not None:
                _refuse("misfit", f"oracles.{name}.type", misfit)
        return self

    @model_validator(mode="after")
    def _states_told_apart(self) -> BehaviorDefinition:
        target, source = (self.oracles.get(name) for name in ("target", "source"))
        if target is not None and target == source:
            _refuse("same", "oracles.source", "source and target are the same oracle, so every answer is 'other'")
        return self

    @property
    def outcome_type(self) -> OutcomeType:
        """The outcomes of this kind of behavior."""
        return OUTCOME_TYPES[self.outcomes]


def _refuse(kind: str, key: str, message: str) -> NoReturn:
    raise PydanticCustomError(f"oracle_{kind}", "{message}", {"message": message, "key": key})


@dataclass(frozen=True)
class Behavior:
    """A validated behavior with its prompts; made by `load_behavior`.

    Attributes:
        definition: The behavior file.
        all_prompts: Every prompt of every split and role.
        inline_contrast: X+ and X− where the file gives them apart from the find split.
        file: The file that it was read from, which errors name; nothing else depends on it.
        remote_judge: Whether answers may leave this machine although the behavior is sensitive.
    """

    definition: BehaviorDefinition
    all_prompts: tuple[Prompt, ...]
    inline_contrast: Contrast | None = None
    file: str | None = field(default=None, compare=False)
    remote_judge: bool = field(default=False, compare=False)

    @property
    def name(self) -> str:
        """Name of the behavior."""
        return self.definition.name

    @property
    def description(self) -> str:
        """One or two sentences for readers."""
        return self.definition.description

    @property
    def sensitive(self) -> bool:
        """Whether completions are kept out of reports and logs."""
        return self.definition.sensitive

    @property
    def languages(self) -> tuple[str, ...]:
        """ISO 639-1 codes that oracles tell apart."""
        return self.definition.languages

    @property
    def horizons(self) -> tuple[int, ...]:
        """Lengths in tokens at which rollouts are judged, ascending; the last one is that of trigger and ceiling."""
        return self.definition.horizons

    @property
    def threshold(self) -> float:
        """Share of the eligible rollouts that makes a trigger or a ceiling."""
        return self.definition.threshold

    @property
    def positions(self) -> Literal["all", "generated"]:
        """Positions that are dosed."""
        return self.definition.positions

    @property
    def minimum_eligible(self) -> int:
        """Fewest eligible evaluation prompts for a verdict."""
        return self.definition.minimum_eligible

    @property
    def outcomes(self) -> tuple[str, ...]:
        """All outcomes in the order of reports, `collapsed` among them; `abstained` where an oracle may."""
        outcomes = self.definition.outcome_type.outcomes
        if not any(oracle.may_abstain for oracle in self.definition.oracles.values()):
            return outcomes
        return (*(name for name in outcomes if name != COLLAPSED), ABSTAINED, COLLAPSED)

    @property
    def source_outcome(self) -> str:
        """The outcome that an eligible prompt's undosed rollout shows."""
        return self.definition.outcome_type.source

    @property
    def target_outcomes(self) -> frozenset[str]:
        """Outcomes that count as a flip."""
        return self.definition.outcome_type.targets

    @property
    def log_odds(self) -> LogOdds:
        """How target and control are told apart; by their answers where the file does not say."""
        return self.definition.log_odds or LogOdds(kind="answers")

    @property
    def where(self) -> str:
        """How errors begin: the file, where there is one."""
        return f"{self.file}: " if self.file else ""

    def prompts(self, split: Split, role: Role = "positive") -> tuple[Prompt, ...]:
        """The prompts of a split that are steered, or the benign ones (role "negative") beside them."""
        return tuple(prompt for prompt in self.all_prompts if prompt.split == split and prompt.role == role)

    def contrast(self, split: Split = "find") -> Contrast:
        """X+ and X− of a split.

        Raises:
            BehaviorError: A side has fewer prompts than screens accept.
        """
        if split == "find" and self.inline_contrast is not None:
            contrast = self.inline_contrast
        else:
            prompts = [prompt for prompt in self.all_prompts if prompt.split == split]
            contrast = Contrast(
                tuple(prompt for prompt in prompts if prompt.role == "positive"),
                tuple(prompt for prompt in prompts if prompt.role == "negative"),
            )
        for side, prompts_of_side in (("positive", contrast.positive), ("negative", contrast.negative)):
            if len(prompts_of_side) < MINIMUM_CONTRAST:
                raise BehaviorError(
                    f"{self.where}behavior '{self.name}' has {len(prompts_of_side)} {side} prompts in split '{split}', "
                    f"{MINIMUM_CONTRAST} are needed for a contrast",
                    f"add prompts of the role {side} to the split '{split}', as in [prompts.{split}] {side} = [\"…\"]"
                    + (", or give [contrast]" if split == "find" else ""),
                )
        return contrast

    def perturbation_pairs(self, split: Split = "find") -> tuple[tuple[str, str], ...]:
        """Minimally different prompt pairs (prompt, perturbed prompt), empty where the file defines none.

        Args:
            split: The split that they belong to.

        Raises:
            BehaviorError: The pairs come from a contrast that is too small.
        """
        perturbation = self.definition.perturbation
        if perturbation is None:
            return ()
        if perturbation.kind == "pairs":
            return {"find": perturbation.pairs, "select": perturbation.select, "evaluate": perturbation.evaluate}[split]
        if perturbation.kind == "contrast":
            contrast = self.contrast(split)
            return tuple(
                (one.text, other.text) for one, other in zip(contrast.positive, contrast.negative, strict=False)
            )
        return tuple((prompt.text, swap_in_last_turn(prompt.text)) for prompt in self.prompts(split))

    def judge(self, text: str, prompt: Prompt, collapsed: bool, *, whole: str | None = None, ended: bool = True) -> str:
        """Name the outcome of one rollout at one horizon.

        Args:
            text: The answer, cut to the horizon.
            prompt: The prompt that was answered.
            collapsed: The coherence detector's verdict at that horizon.
            whole: The answer as far as it was generated; shows whether a word of `text` goes on. None takes `text`.
            ended: Whether the answer ended there by itself; if not, its last word may be the beginning of another.

        Raises:
            BehaviorError: An oracle failed, as a regular expression does that runs too long; names file and oracle.
        """
        whole = text if whole is None else whole
        return self.judge_many([Request(Answer(text, whole_words(text, whole, ended=ended)), prompt, collapsed)])[0]

    def judge_many(self, requests: Sequence[Request], known: Known | None = None) -> list[str]:
        """Name the outcomes of many rollouts at once, which is what judges that are models need.

        Args:
            requests: Answers with their prompts and what the coherence detector says of them.
            known: Judgements of slow oracles by key; looked up first, and added to. Kept with a run, no text is judged
                twice.

        Raises:
            BehaviorError: An oracle failed, or would send answers of a sensitive behavior elsewhere without leave.
        """
        try:
            self.require_leave()
            return judge_outcomes(self.definition.outcomes, self.definition.oracles, requests, self.languages, known)
        except BehaviorError as error:
            raise BehaviorError(self.where + error.message, error.hint) from error

    def require_leave(self) -> None:
        """Stop before anything is done where a judge elsewhere would be sent answers of a sensitive behavior.

        Raises:
            BehaviorError: It would, and `remote_judge` does not allow it.
        """
        for name, oracle in self.definition.oracles.items():
            if self.sensitive and oracle.remote is not None and not self.remote_judge:
                raise BehaviorError(
                    f"oracle '{name}' ({oracle.type}) would send answers of a sensitive behavior to {oracle.remote}",
                    "use a judge on this machine, or allow it with --remote-judge",
                )

    def matches(self, text: str, prompt: Prompt, *, ended: bool = True) -> dict[str, bool | None]:
        """What every oracle says of an answer by itself, whichever outcome comes of it.

        Args:
            text: The answer.
            prompt: The prompt that was answered.
            ended: Whether the answer ended there by itself.

        Raises:
            BehaviorError: As `judge_many`.
        """
        return self.matches_many([(Answer(text, whole_words(text, text, ended=ended)), prompt)])[0]

    def matches_many(
        self, answers: Sequence[tuple[Answer, Prompt]], known: Known | None = None
    ) -> list[dict[str, bool | None]]:
        """The same of many answers at once; `known` and errors as for `judge_many`."""
        contexts = [OracleContext(prompt, self.languages) for _, prompt in answers]
        try:
            self.require_leave()
            said = {
                name: ask_many(name, oracle, [answer for answer, _ in answers], contexts, known)
                for name, oracle in self.definition.oracles.items()
            }
        except BehaviorError as error:
            raise BehaviorError(self.where + error.message, error.hint) from error
        return [{name: found[place] for name, found in said.items()} for place in range(len(answers))]

    def require_eligible(self, eligible: int, total: int) -> None:
        """Stop where too few prompts show the source state without a dose.

        Raises:
            BehaviorError: Fewer than `minimum_eligible`.
        """
        if eligible < self.minimum_eligible:
            raise BehaviorError(
                f"behavior '{self.name}': {eligible} of {total} evaluation prompts are '{self.source_outcome}' without "
                f"a dose, {self.minimum_eligible} are needed",
                "use prompts on which this model shows the source state, or lower minimum_eligible",
            )

    @cached_property
    def split_fingerprints(self) -> dict[str, str]:
        """sha256 of each split's prompts, both roles."""
        return {split: fingerprint_prompts(self._of_split(split)) for split in SPLITS}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of all that results depend on: the definition, the oracles with their patterns, every prompt."""
        definition: dict[str, Any] = self.definition.model_dump(
            mode="json", exclude={"description", "sensitive", "prompts", "contrast", "oracles", "agreement"}
        )
        # Behaviors without pairs for these splits keep the fingerprint that they had before there could be any.
        for split in ("select", "evaluate"):
            if definition["perturbation"] and not definition["perturbation"][split]:
                del definition["perturbation"][split]
        oracles = {
            name: oracle.identity(self.languages) | provenance(oracle)
            for name, oracle in self.definition.oracles.items()
        }
        inline = self.inline_contrast
        contrast = [prompt_record(prompt) for prompt in (*inline.positive, *inline.negative)] if inline else None
        return fingerprint_json(
            {"definition": definition, "oracles": oracles, "splits": self.split_fingerprints, "contrast": contrast}
        )

    def _of_split(self, split: Split) -> Sequence[Prompt]:
        return [prompt for prompt in self.all_prompts if prompt.split == split]
