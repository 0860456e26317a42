"""The catalogue: known names, paths, cards, and errors that say what to do."""

import json
import subprocess
import sys

import pytest

from controlwindow import catalogue as module
from controlwindow.catalogue import catalogue, load_card, organism_path
from controlwindow.errors import OrganismError
from controlwindow.organisms.training.world.prompts import generic_prompts


def test_the_default_organism_is_listed_and_shipped():
    entry = next(entry for entry in catalogue() if entry.name == "organism:switch")
    assert entry.shipped
    assert (entry.family, entry.lineage) == ("llama", "switch")
    assert [(p.behavior, p.by) for p in entry.planted] == [("refusal", "ablation"), ("language", "dose")]


def test_paths_with_and_without_the_prefix():
    assert organism_path("switch") == organism_path("organism:switch")
    assert (organism_path("switch") / "model.safetensors").stat().st_size <= 4_000_000


def test_an_unknown_organism_lists_the_known_ones():
    with pytest.raises(OrganismError, match="unknown organism 'organism:nothing'") as caught:
        organism_path("organism:nothing")
    assert "organism:switch" in caught.value.hint


def test_missing_files_say_where_others_come_from(monkeypatch):
    monkeypatch.setitem(module._KNOWN, "organism:other", ("llama", "other"))
    with pytest.raises(OrganismError, match="missing from this installation") as caught:
        organism_path("other")
    assert "organisms train other" in caught.value.hint
    assert not next(entry for entry in catalogue() if entry.name == "organism:other").shipped


def test_the_card_is_read_by_name_and_by_directory():
    card = load_card("organism:switch")
    assert card == load_card(organism_path("switch"))
    assert card.generic_prompts == generic_prompts()
    assert card.planted[0].branch == -1
    assert all(t.measured >= t.minimum and t.n >= 40 for t in card.tolerances.values())
    with pytest.raises(Exception, match="frozen"):
        card.seed = 1


def test_a_malformed_card_names_the_key_or_the_line(tmp_path):
    with pytest.raises(OrganismError, match="no card"):
        load_card(tmp_path)
    (tmp_path / "card.json").write_text('{"name":\n oops}')
    with pytest.raises(OrganismError, match="line 2"):
        load_card(tmp_path)
    content = json.loads((organism_path("switch") / "card.json").read_text(encoding="utf-8"))
    content["planted"][0]["branch"] = 2
    (tmp_path / "card.json").write_text(json.dumps(content))
    with pytest.raises(OrganismError, match=r"planted\.0\.branch"):
        load_card(tmp_path)


def test_the_catalogue_needs_no_torch():
    # The package's own front door may load torch; the catalogue itself must not ask for it.
    code = """
import sys, types
front = types.ModuleType("controlwindow")
front.__path__ = [sys.argv[1]]
sys.modules["controlwindow"] = front
from controlwindow.catalogue import catalogue
catalogue()
sys.exit("torch" in sys.modules)
"""
    folder = str(organism_path("switch").parents[1])
    assert subprocess.run([sys.executable, "-c", code, folder], check=False).returncode == 0
