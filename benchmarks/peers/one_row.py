"""Transformers `generate` on one prompt and one dose at a time: what the code of papers does."""

from plain import PACKAGES, plain
from protocol import in_equal_batches, serve

if __name__ == "__main__":
    serve(lambda job: in_equal_batches(job, plain(job), 1), PACKAGES)
