"""Screens: rankings of FFN neurons for a behavior, found by name."""

from controlwindow.screens import contrastive, random, window
from controlwindow.screens.base import Activations, Coverage, Screen, find_screen, screen_names

__all__ = ["Activations", "Coverage", "Screen", "contrastive", "find_screen", "random", "screen_names", "window"]
