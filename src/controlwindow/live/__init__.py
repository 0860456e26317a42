"""The live page: a dose under a slider, its text as it comes, beside what was predicted and measured of it."""
