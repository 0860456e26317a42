"""Ways to steer, compared at one and the same rate of the behavior: neurons against directions of the residual stream."""
