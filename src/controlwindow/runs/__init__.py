"""Runs: a committed plan, a ledger that loses nothing, a session that prepares a model, and a table of kinds."""
