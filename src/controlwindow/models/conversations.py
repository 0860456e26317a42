"""Conversations of several turns as one prompt, told apart again where they become messages."""

from __future__ import annotations

from controlwindow.errors import UsageError

# Between the turns of a conversation: ASCII's own separator of records, which no prompt holds.
_BETWEEN_TURNS = "\x1e"


def conversation(*turns: str) -> str:
    """Join the turns of a conversation into one prompt.

    A prompt stays one text wherever prompts are passed, stored and compared; where it becomes tokens, its turns are
    told apart again and the chat template is applied to all of them.

    Args:
        *turns: The user's and the assistant's messages in turn; the first and the last are the user's.

    Raises:
        UsageError: The last message is not the user's.

    Example:
        >>> turns_of(conversation("Where does it live?", "In the forest.", "Are you sure?"))
        ('Where does it live?', 'In the forest.', 'Are you sure?')
        >>> conversation("Hello.")
        'Hello.'
    """
    if len(turns) % 2 == 0:
        raise UsageError(
            f"a conversation of {len(turns)} messages does not end with the user's",
            "give the user's and the assistant's messages in turn, the user's first and last",
        )
    return _BETWEEN_TURNS.join(turns)


def turns_of(prompt: str) -> tuple[str, ...]:
    """The turns of a prompt, the user's first; a plain prompt is one turn."""
    return tuple(prompt.split(_BETWEEN_TURNS))


def messages_of(prompt: str) -> list[dict[str, str]]:
    """The turns of a prompt as chat templates take them."""
    return [
        {"role": ("user", "assistant")[number % 2], "content": turn} for number, turn in enumerate(turns_of(prompt))
    ]


def transcript(prompt: str) -> str:
    """A prompt as people read it: itself, or who says what, one turn a line.

    Example:
        >>> print(transcript(conversation("Where does it live?", "In the forest.", "Are you sure?")))
        User: Where does it live?
        Assistant: In the forest.
        User: Are you sure?
    """
    turns = turns_of(prompt)
    if len(turns) == 1:
        return prompt
    return "\n".join(f"{('User', 'Assistant')[number % 2]}: {turn}" for number, turn in enumerate(turns))
