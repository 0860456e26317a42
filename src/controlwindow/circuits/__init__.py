"""Circuits: sets of FFN neurons changed together, and the controls that such a result needs."""
