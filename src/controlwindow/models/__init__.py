"""Models: loading, adapters, neurons, chat templates. The only place that knows module names."""

from controlwindow.models.chat import conversation
from controlwindow.models.directions import raw_write, write_direction
from controlwindow.models.feedforward import PostNorm
from controlwindow.models.loading import load_model
from controlwindow.models.model import Model
from controlwindow.models.neuron import Neuron, Neurons

__all__ = ["Model", "Neuron", "Neurons", "PostNorm", "conversation", "load_model", "raw_write", "write_direction"]
