"""Ways to steer, compared at one rate of the behavior: neurons against directions of the residual stream."""
