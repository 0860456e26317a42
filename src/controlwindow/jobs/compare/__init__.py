"""Ways to steer compared at matched rates of a behavior."""
