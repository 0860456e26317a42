"""Transformers `generate` on doses × prompts rows, left padded: the strongest honest baseline."""

from plain import PACKAGES, plain
from protocol import in_best_batches, serve

if __name__ == "__main__":
    serve(lambda job: in_best_batches(job, plain(job)), PACKAGES)
