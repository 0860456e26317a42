"""Screens: rankings of FFN neurons for a behavior, found by name."""

from controlwindow.screens import causal, contrastive, gradient, one, perturbation, random, window
from controlwindow.screens.base import Activations, Cost, Coverage, Screen, find_screen, screen_names
from controlwindow.screens.controls import CONTROLS, shuffle_labels

__all__ = [
    "CONTROLS",
    "Activations",
    "Cost",
    "Coverage",
    "Screen",
    "causal",
    "contrastive",
    "find_screen",
    "gradient",
    "one",
    "perturbation",
    "random",
    "screen_names",
    "shuffle_labels",
    "window",
]
