"""Asking judges: a local model through our own loader and decoder, or a server that speaks OpenAI's protocol."""

from __future__ import annotations

import ipaddress
import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from controlwindow.errors import BehaviorError

if TYPE_CHECKING:
    from controlwindow.models import Model

#: Tokens of a reply: it begins with yes or no, perhaps in quotation marks.
REPLY_TOKENS = 8
#: Requests that a server is sent at once.
AT_ONCE = 4

_LARGEST_REPLY = 1 << 20


class Reply(NamedTuple):
    """What a judge replied.

    Attributes:
        text: The reply.
        failure: Why there is none: `timeout`, `unreachable`, `server` (it answered with an error or in another form) or
            `too_long` (request and answer do not fit the judge's context).
    """

    text: str
    failure: str | None = None


@lru_cache(maxsize=2)
def loaded_judge(name: str) -> Model:
    """A local judge; the last two stay loaded, since two questions may have a judge each.

    Raises:
        ModelError: It cannot be loaded.
    """
    from controlwindow.models import load_model

    return load_model(name)


def is_near(address: str) -> bool:
    """Whether an address is this machine's own."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def local_replies(name: str, asked: Sequence[str]) -> list[Reply]:
    """Greedy replies of a local model, in batches.

    Raises:
        ModelError: It cannot be loaded.
    """
    from controlwindow.instruments.memory import BatchSizes
    from controlwindow.instruments.rows import Row, roll_out_rows

    model = loaded_judge(name)
    rows = [Row(tuple(ids), ()) for ids in model.token_ids(list(asked))]
    room = None if model.context is None else model.context - REPLY_TOKENS
    fitting = [place for place, row in enumerate(rows) if room is None or len(row.prompt_ids) <= room]
    replies = [Reply("", "too_long")] * len(rows)
    if fitting:
        done = BatchSizes({}, None).fit(
            "judging",
            min(len(fitting), 64),
            lambda size: roll_out_rows(model, [rows[place] for place in fitting], REPLY_TOKENS, batch_rows=size),
        )
        for place, rollout in zip(fitting, done, strict=True):
            replies[place] = Reply(model.decode([t for t in rollout.token_ids if t not in model.stop_ids]))
    return replies


def remote_replies(
    address: str, served: str, asked: Sequence[str], timeout: float, key_variable: str | None = None
) -> list[Reply]:
    """Replies of a server; what fails is said, and stands in nobody's way.

    Args:
        address: The server's address, to which /chat/completions is added.
        served: The model's name there.
        asked: Filled rubrics.
        timeout: Seconds that one reply may take.
        key_variable: The environment variable that holds the key.

    Raises:
        BehaviorError: It cannot be reached at all, or the key's variable is not set.
    """
    headers = {"Content-Type": "application/json"}
    if key_variable is not None:
        key = os.environ.get(key_variable)
        if not key:
            raise BehaviorError(
                f"the environment variable {key_variable}, which holds the judge's key, is not set",
                "set it, or leave key_variable out",
            )
        headers["Authorization"] = f"Bearer {key}"

    # What is asked of this machine itself goes through nobody else's hands.
    direct = [urllib.request.ProxyHandler({})] if is_near(address) else []
    opener = urllib.request.build_opener(*direct)

    def reply(text: str) -> Reply:
        body = {
            "model": served,
            "messages": [{"role": "user", "content": text}],
            "temperature": 0,
            "max_tokens": REPLY_TOKENS,
        }
        request = urllib.request.Request(
            address.rstrip("/") + "/chat/completions", json.dumps(body).encode(), headers, method="POST"
        )
        try:
            with opener.open(request, timeout=timeout) as response:
                document = json.loads(response.read(_LARGEST_REPLY))
            content = document["choices"][0]["message"]["content"]
            return Reply(content) if isinstance(content, str) else Reply("", "server")
        except urllib.error.HTTPError:
            return Reply("", "server")
        except TimeoutError:
            return Reply("", "timeout")
        except (urllib.error.URLError, OSError) as error:
            late = isinstance(getattr(error, "reason", None), TimeoutError)
            return Reply("", "timeout" if late else "unreachable")
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            return Reply("", "server")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        replies = list(pool.map(reply, asked))
    if replies and all(found.failure == "unreachable" for found in replies):
        raise BehaviorError(f"the judge at {address} cannot be reached", "start it, or check the address")
    return replies
