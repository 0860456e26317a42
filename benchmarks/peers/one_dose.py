"""Transformers `generate` on one dose at a time, all prompts of the dose in a batch."""

from plain import PACKAGES, plain
from protocol import Job, Run, in_batches, serve


def make(job: Job) -> Run:
    """The job, a batch of prompts per dose."""
    generate = plain(job)
    return lambda: in_batches(job, generate, len(job.prompts))


if __name__ == "__main__":
    serve(make, PACKAGES)
