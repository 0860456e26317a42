"""Oracles: small deterministic tests of an answer's text, found by the name in a behavior file's `type`.

An oracle says whether a text matches; which outcome a match stands for is decided in `outcomes`. Everything an oracle
can be told stands in its fields, so that a behavior's fingerprint covers all that a judgement depends on. Each lives in
a module of its own, named as its type, or in another package (`registry`); nothing else lists them.
"""

from controlwindow.behaviors.oracles.base import Judgement, Oracle, OracleContext
from controlwindow.behaviors.oracles.claim import ClaimOracle
from controlwindow.behaviors.oracles.contains import ContainsOracle
from controlwindow.behaviors.oracles.form import FormOracle
from controlwindow.behaviors.oracles.language import LanguageOracle
from controlwindow.behaviors.oracles.refusal import RefusalOracle
from controlwindow.behaviors.oracles.regex import RegexOracle
from controlwindow.behaviors.oracles.registry import ORACLES, AnyOracle, known_oracles, oracle_class
from controlwindow.behaviors.oracles.steps import StepsOracle

__all__ = [
    "ORACLES",
    "AnyOracle",
    "ClaimOracle",
    "ContainsOracle",
    "FormOracle",
    "Judgement",
    "LanguageOracle",
    "Oracle",
    "OracleContext",
    "RefusalOracle",
    "RegexOracle",
    "StepsOracle",
    "known_oracles",
    "oracle_class",
]
