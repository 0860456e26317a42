"""Handlers: one kind of cell each, how many rows it takes and how it is measured."""
