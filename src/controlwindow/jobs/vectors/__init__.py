"""Windows of residual vectors: mean differences, control vectors, decoder rows, measured as a neuron is."""
