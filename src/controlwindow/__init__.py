"""Audit single-neuron steering of language models."""
