"""Waiting for an engine's answer in whatever event loop Inspect runs on."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TypeVar

import anyio

Answer = TypeVar("Answer")

_POLL = 0.02
"""Seconds between two looks, on an event loop that cannot be told from another thread in a way of its own."""


async def answered(asked: Future[Answer]) -> Answer:
    """What was asked for, when it is there."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        while not asked.done():
            await anyio.sleep(_POLL)
        return asked.result()
    return await asyncio.wrap_future(asked)
