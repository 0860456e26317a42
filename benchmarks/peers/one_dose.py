"""Transformers `generate` on one dose at a time, all prompts of the dose in a batch."""

from plain import PACKAGES, plain
from protocol import in_equal_batches, serve

if __name__ == "__main__":
    serve(lambda job: in_equal_batches(job, plain(job), len(job.prompts)), PACKAGES)
