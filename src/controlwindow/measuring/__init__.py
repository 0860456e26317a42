"""Measuring: what a cell asks for becomes passes of the model, and what came out becomes rows of plain values."""
