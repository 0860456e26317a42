"""Runs, ledgers, behaviors and checkpoints treated badly on purpose: equal results or one clear error, never a hang.

The short, seeded part is in the tests; `make torture` runs the long one and writes docs/results/torture.json.
"""
