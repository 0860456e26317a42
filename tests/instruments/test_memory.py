"""Memory that runs out: batches are halved, what was learnt stays, and other errors go on their way."""

from __future__ import annotations

import logging

import pytest
import torch

from controlwindow.errors import DeviceMemoryError
from controlwindow.instruments.memory import BatchSizes, out_of_memory

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: 4000000000 bytes."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: not enough memory: 4000000000 bytes."),
    MemoryError("no room"),
]


class Work:
    """Work on some rows that needs a batch of at most so many."""

    def __init__(self, rows: int, fits: int, error: BaseException = ERRORS[0]) -> None:
        self.rows, self.fits, self.error = rows, fits, error
        self.tried: list[int] = []

    def __call__(self, size: int) -> list[int]:
        self.tried.append(size)
        if min(size, self.rows) > self.fits:
            raise self.error
        return list(range(self.rows))


@pytest.mark.parametrize("error", ERRORS)
def test_a_batch_that_does_not_fit_is_halved_until_it_does(error, caplog):
    reduced: list[tuple[str, int]] = []
    sizes = BatchSizes(reduced=lambda kind, rows: reduced.append((kind, rows)))
    work = Work(40, fits=6, error=error)
    with caplog.at_level(logging.WARNING, "controlwindow"):
        assert sizes.fit("rollouts", 40, work) == list(range(40))
    assert work.tried == [40, 20, 10, 5]
    assert reduced == [("rollouts", 20), ("rollouts", 10), ("rollouts", 5)]
    assert [r.args for r in caplog.records] == [(40, "rollouts", 20), (20, "rollouts", 10), (10, "rollouts", 5)]


def test_what_fitted_stays_for_that_kind_of_work_only():
    sizes = BatchSizes()
    sizes.fit("rollouts", 40, Work(40, fits=10))
    again, less, other = Work(40, fits=10), Work(3, fits=10), Work(40, fits=40)
    sizes.fit("rollouts", 40, again)
    sizes.fit("rollouts", 3, less)
    sizes.fit("scoring", 40, other)
    assert (again.tried, less.tried, other.tried) == ([10], [3], [40])


def test_a_single_row_that_does_not_fit_is_an_error_with_the_repair():
    work = Work(3, fits=0)
    with pytest.raises(DeviceMemoryError, match="single row of scoring") as caught:
        BatchSizes().fit("scoring", 3, work)
    assert work.tried == [3, 1]
    assert "--dtype" in caught.value.hint


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not match"), ValueError("can't allocate memory"), KeyError()]
)
def test_other_errors_are_not_taken_for_memory(error):
    assert not out_of_memory(error)
    work = Work(8, fits=0, error=error)
    with pytest.raises(type(error)):
        BatchSizes().fit("rollouts", 8, work)
    assert work.tried == [8]


def test_a_batch_that_failed_is_given_back_before_the_next_is_tried():
    # An error keeps the frames that raised it alive, and with them their tensors.
    alive: list[int] = []

    class Tensor:
        count = 0

        def __init__(self) -> None:
            Tensor.count += 1

        def __del__(self) -> None:
            Tensor.count -= 1

    def work(size: int) -> str:
        alive.append(Tensor.count)
        held = Tensor()
        if size > 2:
            raise torch.OutOfMemoryError("out")
        del held
        return "done"

    assert BatchSizes().fit("rollouts", 8, work) == "done"
    assert alive == [0, 0, 0]
