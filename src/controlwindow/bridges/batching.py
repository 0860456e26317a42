"""Requests that come one at a time, as evaluation tools send them, rolled out together.

One thread a model takes what has gathered while it was busy. Rows of different doses share what they agree in, so that
an evaluation at eight doses costs less than eight evaluations.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, NamedTuple

from controlwindow.instruments.operations import RowOperations
from controlwindow.instruments.rows import Row, RowRollout, roll_out_rows
from controlwindow.models import Model, load_model

GATHER = 0.03
"""Seconds without a further request after which a batch begins."""

IDLE = 0.5
"""Seconds without a request after which a model's thread ends; the next request begins another."""

BATCH_ROWS = 256


class Request(NamedTuple):
    """One row that is wanted.

    Attributes:
        prompt_ids: The prompt.
        operations: What acts on it.
        tokens: Most tokens.
        seed: None decodes greedily; a seed samples at temperature 1.
        stops: Texts at which the answer ends.
    """

    prompt_ids: tuple[int, ...]
    operations: RowOperations
    tokens: int
    seed: int | None = None
    stops: tuple[str, ...] = ()


class Engine:
    """A model that many requests share.

    Args:
        model: The model.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.lock = Lock()
        """Held while the model computes; whoever measures something else on it takes it too."""
        self.batches: list[int] = []
        """Rows of each batch so far."""
        self._asked: SimpleQueue[tuple[Request, Future[RowRollout]]] = SimpleQueue()
        self._seen: Counter[tuple[int, ...]] = Counter()
        self._thread: Thread | None = None
        self._starting = Lock()

    def ask(self, request: Request) -> Future[RowRollout]:
        """Ask for one row; others that are asked for meanwhile are computed with it."""
        found: Future[RowRollout] = Future()
        with self._starting:
            self._asked.put((request, found))
            if self._thread is None:
                self._thread = Thread(target=self._work, name="controlwindow rollouts")
                self._thread.start()
        return found

    def seed(self, given: int | None, prompt_ids: Sequence[int]) -> int:
        """A seed for one sampled answer: each further one to the same prompt has another, in whatever batch it is."""
        key = (given or 0, *prompt_ids)
        with self._starting:
            number = self._seen[key]
            self._seen[key] += 1
        digest = hashlib.sha256(repr((key, number)).encode()).digest()
        return int.from_bytes(digest[:6], "big")

    def _work(self) -> None:
        while True:
            try:
                taken = [self._asked.get(timeout=IDLE)]
            except Empty:
                # A thread that waits for ever would keep the process, or be killed in the middle of a pass.
                with self._starting:
                    if self._asked.empty():
                        self._thread = None
                        return
                continue
            while len(taken) < BATCH_ROWS:
                try:
                    taken.append(self._asked.get(timeout=GATHER))
                except Empty:
                    break
            live = [(request, found) for request, found in taken if found.set_running_or_notify_cancel()]
            # A horizon and a way to sample are a batch's; sampled rows are alone, so that they depend on no neighbour.
            live.sort(key=lambda one: (one[0].tokens, one[0].seed is not None, one[0].seed or 0))
            for (_, seed), group in itertools.groupby(live, key=lambda one: (one[0].tokens, one[0].seed)):
                rows = list(group)
                for part in [[row] for row in rows] if seed is not None else [rows]:
                    self._carry_out([request for request, _ in part], [found for _, found in part])

    def _carry_out(self, requests: list[Request], found: list[Future[RowRollout]]) -> None:
        def stops(row: int, tokens: Sequence[int]) -> bool:
            wanted = requests[row].stops
            return bool(wanted) and any(stop in self.model.decode(tokens) for stop in wanted)

        try:
            with self.lock:
                self.batches.append(len(requests))
                done = roll_out_rows(
                    self.model,
                    [Row(request.prompt_ids, request.operations) for request in requests],
                    requests[0].tokens,
                    batch_rows=BATCH_ROWS,
                    sample_seed=requests[0].seed,
                    stop_when=stops if any(request.stops for request in requests) else None,
                )
        except BaseException as error:
            # Whatever it is, those who wait are told, and the thread serves the next.
            for one in found:
                one.set_exception(error)
            return
        for one, row in zip(found, done, strict=True):
            one.set_result(row)


_ENGINES: dict[tuple[Any, ...], Engine] = {}
_LOADING = Lock()


def engine_of(name: str, *, device: str = "auto", dtype: str | None = None, adapter: str | None = None) -> Engine:
    """The engine of a model by name, loaded when it is first asked for; one that is in hand goes before (`share`).

    Raises:
        ModelError: It cannot be loaded.
    """
    with _LOADING:
        for key in ((name,), (name, device, dtype, adapter)):
            if key in _ENGINES:
                return _ENGINES[key]
        loaded = load_model(name, device=device, dtype=dtype, adapter=None if adapter is None else Path(adapter))
        return _ENGINES.setdefault((name, device, dtype, adapter), Engine(loaded))


def share(model: Model) -> Engine:
    """Have a model in hand serve all that ask for its name."""
    with _LOADING:
        known = _ENGINES.get((model.name,))
        if known is None or known.model is not model:
            known = _ENGINES[model.name,] = Engine(model)
        return known
