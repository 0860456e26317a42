"""Whether an answer has collapsed, told as an audit tells it: beside the undosed answer to the same prompt."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from threading import Lock

from controlwindow.behaviors import CoherenceDetector, ScoredText
from controlwindow.bridges.batching import Engine, Request
from controlwindow.instruments.generic import generic_pass
from controlwindow.instruments.rows import RowRollout
from controlwindow.instruments.scoring import token_nll
from controlwindow.measuring.detector import detector_of
from controlwindow.models import Model


class Coherence:
    """Judges answers of one model; its detector is set once, when it is first needed.

    Args:
        engine: The model.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._detector: CoherenceDetector | None = None
        self._undosed: dict[tuple[tuple[int, ...], int], Future[RowRollout]] = {}
        self._setting, self._asking = Lock(), Lock()

    def reference(self, prompt_ids: Sequence[int], horizon: int) -> Future[RowRollout]:
        """The undosed answer to a prompt, asked for once for all doses."""
        key = (tuple(prompt_ids), horizon)
        with self._asking:
            if key not in self._undosed:
                self._undosed[key] = self._engine.ask(Request(key[0], (), horizon))
            return self._undosed[key]

    def collapsed(
        self, prompt_ids: Sequence[int], token_ids: Sequence[int], reference: Sequence[int], horizon: int
    ) -> bool:
        """Whether an answer has collapsed at a horizon.

        Args:
            prompt_ids: The prompt.
            token_ids: The answer.
            reference: The undosed answer.
            horizon: Length in tokens at which it is judged.
        """
        engine, prompt = self._engine, tuple(prompt_ids)
        detector = self._set()
        texts = [content(engine.model, tokens, horizon) for tokens in (token_ids, reference)]
        with engine.lock:
            surprisals = token_nll(engine.model, [prompt, prompt], texts)
        dosed, undosed = (
            ScoredText(ids, tuple(values), engine.model.decode(ids))
            for ids, values in zip(texts, surprisals, strict=True)
        )
        return bool(detector.judge(dosed, undosed).collapsed)

    def _set(self) -> CoherenceDetector:
        with self._setting:
            if self._detector is None:
                with self._engine.lock:
                    self._detector = detector_of(self._engine.model, generic_pass(self._engine.model))
            return self._detector


def content(model: Model, token_ids: Sequence[int], horizon: int) -> tuple[int, ...]:
    """An answer cut to a horizon, without the token that stops it."""
    return tuple(token for token in token_ids[:horizon] if token not in model.stop_ids)


_KNOWN: dict[int, tuple[Engine, Coherence]] = {}
_MAKING = Lock()


def coherence_of(engine: Engine) -> Coherence:
    """The judge of a model's answers, one for all that ask."""
    with _MAKING:
        return _KNOWN.setdefault(id(engine), (engine, Coherence(engine)))[1]
