"""The command line. Every command reads its arguments, calls one function of the package, and shows what came back."""

from controlwindow.cli.app import main

__all__ = ["main"]
