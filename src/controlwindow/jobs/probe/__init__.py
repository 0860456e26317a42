"""Perturbation probing: importance, an intervention sweep, opposition or routing."""
