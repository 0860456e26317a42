"""Benchmarks: the package against other ways to do the same work, as ratios within one run.

`python -m benchmarks` from the root of the checkout runs them all; docs/performance.md says what they show.
"""
