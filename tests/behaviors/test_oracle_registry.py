"""Oracles by their type: those of this package, and those that an installed package offers."""

import sys

import pytest

from controlwindow.behaviors.definition import BehaviorDefinition
from controlwindow.behaviors.loading import assemble
from controlwindow.behaviors.oracles import ORACLES, known_oracles, oracle_class
from controlwindow.behaviors.oracles.claim import ClaimOracle
from controlwindow.errors import BehaviorError

HAIKU = """
from typing import Literal
from controlwindow.behaviors.oracles import Oracle

class HaikuOracle(Oracle):
    type: Literal["haiku"]
    lines: int = 3

    def matches(self, text, context):
        return text.count("\\n") == self.lines - 1

class Shouting(Oracle):
    type: Literal["shouting"]

    def matches(self, text, context):
        raise ZeroDivisionError("nobody shouts")

something = 3
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package that offers oracles, as pip lays it out."""

    def installed(offers: str, code: str = HAIKU, name: str = "poems", version: str = "1.0") -> None:
        site = tmp_path / name
        information = site / f"{name}-{version}.dist-info"
        information.mkdir(parents=True)
        (site / f"{name}.py").write_text(code, "utf-8")
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")
        (information / "entry_points.txt").write_text(f"[controlwindow.oracles]\n{offers}\n", "utf-8")
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, name, raising=False)

    return installed


def behavior(tmp_path, **oracle):
    table = {
        "name": "verse",
        "horizons": [8],
        "oracles": {"target": oracle},
        "prompts": {"evaluate": [f"Write {number}." for number in range(16)]},
    }
    return assemble(BehaviorDefinition.model_validate(table), tmp_path / "verse.toml")


def test_an_oracle_is_a_module_named_as_its_type():
    assert ORACLES["claim"] is oracle_class("claim") is ClaimOracle
    assert set(ORACLES) == set(known_oracles())
    with pytest.raises(KeyError):
        oracle_class("base")
    with pytest.raises(KeyError):
        oracle_class("registry")


def test_an_installed_package_offers_an_oracle(tmp_path, install):
    install("haiku = poems:HaikuOracle")
    assert "haiku" in known_oracles()
    verse = behavior(tmp_path, type="haiku")
    prompt = verse.prompts("evaluate")[0]
    assert verse.judge("a\nb\nc", prompt, collapsed=False) == "switched"
    assert verse.judge("a\nb", prompt, collapsed=False) == "unswitched"
    assert verse.fingerprint != behavior(tmp_path, type="haiku", lines=2).fingerprint
    assert behavior(tmp_path, type="haiku", lines=2).judge("a\nb", prompt, collapsed=False) == "switched"


def test_the_fingerprint_moves_with_the_version_of_the_package(tmp_path, install, monkeypatch):
    install("haiku = poems:HaikuOracle")
    first = behavior(tmp_path, type="haiku").fingerprint
    monkeypatch.setattr(sys, "path", sys.path[1:])
    (tmp_path / "poems" / "poems-1.0.dist-info" / "METADATA").rename(tmp_path / "METADATA")
    (tmp_path / "poems" / "poems-1.0.dist-info" / "entry_points.txt").unlink()
    (tmp_path / "poems" / "poems-1.0.dist-info").rmdir()
    (tmp_path / "poems" / "poems.py").unlink()
    (tmp_path / "poems").rmdir()
    install("haiku = poems:HaikuOracle", version="1.1")
    assert behavior(tmp_path, type="haiku").fingerprint != first


@pytest.mark.parametrize(
    ("offers", "code", "message"),
    [
        ("haiku = poems:HaikuOracle", "import nothing_of_that_name\n", "cannot be loaded: ModuleNotFoundError"),
        ("haiku = poems:Missing", HAIKU, "cannot be loaded: AttributeError"),
        ("haiku = poems:HaikuOracle", "raise RuntimeError('no luck')\n", "cannot be loaded: RuntimeError: no luck"),
        ("haiku = poems:something", HAIKU, "is not a subclass of Oracle with type: Literal['haiku']"),
        ("haiku = poems:Shouting", HAIKU, "is not a subclass of Oracle with type: Literal['haiku']"),
    ],
)
def test_a_broken_oracle_is_named_with_its_package_and_troubles_no_other(tmp_path, install, offers, code, message):
    install(offers, code)
    behavior(tmp_path, type="regex", pattern="x")
    with pytest.raises(BehaviorError) as caught:
        behavior(tmp_path, type="haiku")
    assert f"the oracle 'haiku' of poems 1.0 ({offers.partition(' = ')[2]})" in str(caught.value)
    assert message in str(caught.value)
    assert caught.value.hint == "repair or uninstall that package"


def test_two_packages_may_not_offer_one_oracle(tmp_path, install):
    install("haiku = poems:HaikuOracle")
    install("haiku = verses:HaikuOracle", name="verses", version="2.0")
    with pytest.raises(BehaviorError, match=r"offered by more than one package: .*poems:HaikuOracle"):
        behavior(tmp_path, type="haiku")


def test_an_oracle_of_this_package_cannot_be_taken_over(tmp_path, install):
    install("claim = poems:HaikuOracle")
    assert oracle_class("claim") is ClaimOracle


def test_what_an_oracle_raises_is_an_error_of_the_behavior(tmp_path, install):
    install("shouting = poems:Shouting")
    verse = behavior(tmp_path, type="shouting")
    with pytest.raises(BehaviorError) as caught:
        verse.judge("HELLO", verse.prompts("evaluate")[0], collapsed=False)
    assert "oracle 'target' (shouting) failed on an answer to evaluate.p000" in str(caught.value)
    assert "ZeroDivisionError: nobody shouts" in str(caught.value)
    assert str(tmp_path / "verse.toml") in str(caught.value)
