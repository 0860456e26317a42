"""How organisms are made: the generated world, base training, switch training, and the card."""

from controlwindow.organisms.training.build import train_organism

__all__ = ["train_organism"]
