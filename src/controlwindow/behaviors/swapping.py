"""The ready-made perturbation `swap_characters`: a prompt that differs from another by one slip of a finger (PP)."""

from __future__ import annotations

from controlwindow.models.chat import conversation, turns_of


def swap_in_last_turn(text: str) -> str:
    """Swap two letters in what was asked last; the turns before it stay as they are."""
    *earlier, last = turns_of(text)
    return conversation(*earlier, swap_characters(last))


def swap_characters(text: str) -> str:
    """Swap the two middle letters of the longest word (perturbation of PP's safety prompts).

    Example:
        >>> swap_characters("Open the vault")
        'Open the vualt'
    """
    words = text.split(" ")
    longest = max(range(len(words)), key=lambda index: sum(map(str.isalpha, words[index])))
    word = words[longest]
    # The first pair of different letters nearest the middle: swapping equal ones would change nothing.
    middle = (len(word) - 2) / 2
    places = [place for place in range(len(word) - 1) if word[place] != word[place + 1]]
    if not places:
        return text
    place = min(places, key=lambda candidate: (abs(candidate - middle), candidate))
    words[longest] = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    return " ".join(words)
