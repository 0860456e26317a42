"""Transformers `generate` on one prompt and one dose at a time: what the code of papers does."""

from plain import PACKAGES, plain
from protocol import Job, Run, in_batches, serve


def make(job: Job) -> Run:
    """The job, row by row."""
    generate = plain(job)
    return lambda: in_batches(job, generate, 1)


if __name__ == "__main__":
    serve(make, PACKAGES)
