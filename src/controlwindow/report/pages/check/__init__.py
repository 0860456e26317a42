"""The page of a check of the organisms."""
