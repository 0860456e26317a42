"""Circuits: a screen's top neurons scaled together, beside their controls."""
