"""Screens: rankings of FFN neurons for a behavior, found by name among the modules here and those of extensions."""

from controlwindow.instruments.cost import Cost
from controlwindow.screens.base import (
    DEFAULT_SCREEN,
    Activations,
    Coverage,
    Screen,
    find_screen,
    register,
    screen_names,
)
from controlwindow.screens.controls import CONTROLS, shuffle_labels

__all__ = [
    "CONTROLS",
    "DEFAULT_SCREEN",
    "Activations",
    "Cost",
    "Coverage",
    "Screen",
    "find_screen",
    "register",
    "screen_names",
    "shuffle_labels",
]
