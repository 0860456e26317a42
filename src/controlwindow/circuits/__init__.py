"""Circuits: several neurons together, what changing them does, and what a control of the same selection does."""
