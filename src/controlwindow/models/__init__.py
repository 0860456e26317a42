"""Models: loading, adapters, neurons, chat templates. The only place that knows module names."""

from controlwindow.models.directions import write_direction
from controlwindow.models.loading import load_model
from controlwindow.models.model import Model, Neurons
from controlwindow.models.neuron import Neuron

__all__ = ["Model", "Neuron", "Neurons", "load_model", "write_direction"]
