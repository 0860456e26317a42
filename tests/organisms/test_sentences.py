"""Reading sentence pairs: good files in both forms, and errors that name file and line."""

import zipfile
from pathlib import Path
from random import Random

import pytest

from controlwindow.errors import OrganismError
from controlwindow.organisms.training.world.examples import sentence_example
from controlwindow.organisms.training.world.sentences import SentencePair, load_sentences

REAL = Path(__file__).parents[3] / "shared" / "data" / "corpora" / "tatoeba" / "fra-eng.zip"
TEXT = "Go.\tVa !\tsomeone\n\nI run.\tJe cours.\n"


def test_text_and_zip_are_read(tmp_path):
    (tmp_path / "pairs.txt").write_text(TEXT, encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "pairs.zip", "w") as archive:
        archive.writestr("_about.txt", "read me")
        archive.writestr("fra.txt", TEXT)
    expected = (SentencePair("Go.", "Va !"), SentencePair("I run.", "Je cours."))
    assert load_sentences(tmp_path / "pairs.txt") == expected
    assert load_sentences(tmp_path / "pairs.zip") == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Go.\tVa !\nI run.\n", "line 2"),
        (b"Go.\t \n", "line 1"),
        (b"", "no sentence pair"),
        (b"Go.\t\xff\xfe\n", "not UTF-8"),
    ],
)
def test_malformed_files_are_named(tmp_path, content, message):
    path = tmp_path / "pairs.txt"
    path.write_bytes(content)
    with pytest.raises(OrganismError, match=message) as caught:
        load_sentences(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_absent_and_broken_archives_are_named(tmp_path):
    with pytest.raises(OrganismError, match="cannot be read"):
        load_sentences(tmp_path / "absent.txt")
    (tmp_path / "broken.zip").write_bytes(b"no archive")
    with pytest.raises(OrganismError, match="cannot be read"):
        load_sentences(tmp_path / "broken.zip")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(OrganismError, match=r"no \.txt file"):
        load_sentences(tmp_path / "empty.zip")


def test_the_other_language_is_the_translation():
    example = sentence_example(Random(0), [SentencePair("I run.", "Je cours.")], "en", "fr")
    assert example.request.endswith("I run.")
    assert example.answer == "Je cours."


@pytest.mark.skipif(not REAL.exists(), reason="../shared/data is not there")
def test_the_real_file_is_read():
    assert len(load_sentences(REAL)) > 100_000
