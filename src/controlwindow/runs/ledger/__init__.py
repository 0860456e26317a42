"""The ledger: every plan, prediction and measured row of a run in one SQLite file (docs/ledger.md)."""

from controlwindow.runs.ledger.files import make_directory
from controlwindow.runs.ledger.ledger import Chunk, Ledger
from controlwindow.runs.ledger.sensitivity import behavior_records, settle_sensitivity

__all__ = ["Chunk", "Ledger", "behavior_records", "make_directory", "settle_sensitivity"]
