"""Every screen on every organism, scored against cards and census: `python -m benchmarks.screens`."""
