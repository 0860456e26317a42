"""Real sentence pairs, read from a file in the format of Tatoeba's exports."""

from __future__ import annotations

import zipfile
from pathlib import Path
from random import Random
from typing import NamedTuple

from controlwindow.errors import OrganismError
from controlwindow.organisms.training.world.grammar import Language, expand

MAXIMUM_CHARACTERS = 60
_REQUESTS = {
    "en": "[Repeat this sentence:|Read this aloud:|Say this again:] {s}",
    "fr": "[Répétez cette phrase :|Lisez ceci à voix haute :|Redites ceci :] {s}",
}


class SentencePair(NamedTuple):
    """One sentence in both languages."""

    en: str
    fr: str


def load_sentences(path: Path) -> tuple[SentencePair, ...]:
    """Read sentence pairs: `english<TAB>french[<TAB>attribution]`, one a line, plain text or a .txt in a zip.

    Args:
        path: The file.

    Returns:
        The pairs whose sentences have at most `MAXIMUM_CHARACTERS` characters, in the file's order.

    Raises:
        OrganismError: The file is absent, unreadable or empty, or a line is malformed (the message names the line).
    """
    hint = "expected one pair a line, english<TAB>french, as in the exports at manythings.org/anki"
    pairs = []
    for number, line in enumerate(_text(path, hint).splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) < 2 or not fields[0].strip() or not fields[1].strip():
            raise OrganismError(f"{path}, line {number}: no pair of sentences separated by a tab", hint)
        pair = SentencePair(fields[0].strip(), fields[1].strip())
        if max(map(len, pair)) <= MAXIMUM_CHARACTERS:
            pairs.append(pair)
    if not pairs:
        raise OrganismError(f"{path}: no sentence pair of at most {MAXIMUM_CHARACTERS} characters", hint)
    return tuple(pairs)


def sentence_request(pair: SentencePair, language: Language, rng: Random) -> str:
    """Draw a request to repeat a sentence."""
    return expand(_REQUESTS[language], rng, s=sentence_answer(pair, language))


def sentence_answer(pair: SentencePair, language: Language) -> str:
    """Return the sentence in a language."""
    return pair.en if language == "en" else pair.fr


def _text(path: Path, hint: str) -> str:
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".txt") and not name.startswith("_")]
                if not names:
                    raise OrganismError(f"{path}: the archive holds no .txt file", hint)
                return archive.read(names[0]).decode("utf-8")
        return path.read_text(encoding="utf-8")
    except (OSError, zipfile.BadZipFile) as error:
        raise OrganismError(f"{path}: cannot be read ({error})", "check the path given to --sentences") from error
    except UnicodeDecodeError as error:
        raise OrganismError(f"{path}: not UTF-8 text (byte {error.start})", hint) from error
