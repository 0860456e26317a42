"""The call that measures windows of residual vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from controlwindow.behaviors import Behavior, load_to_run
from controlwindow.errors import UsageError
from controlwindow.jobs.vectors.job import VectorsJob
from controlwindow.jobs.vectors.kind import VectorsKind
from controlwindow.jobs.vectors.plan import VectorReference, VectorsPlan
from controlwindow.models import Model
from controlwindow.models.vectors import ResidualVector
from controlwindow.runs.kinds import run_ledger
from controlwindow.runs.plan import behavior_reference, model_head
from controlwindow.runs.progress import Progress, Silent
from controlwindow.windows.vectors import VectorLike, vector_of
from controlwindow.windows.window import Window


def audit_vectors(
    model: Model,
    behaviors: Sequence[str | Path | Behavior] | str | Path | Behavior,
    vectors: Sequence[VectorLike],
    out: str | Path | None = None,
    *,
    seed: int = 0,
    include_neurons: bool = False,
    progress: Progress | None = None,
) -> list[Window]:
    """Measure windows of residual vectors as those of neurons are: trigger, ceiling, verdict, on both branches.

    A vector enters behind its block, at all of the behavior's positions. A run directory that already holds the same
    is gone on with.

    Args:
        model: The model.
        behaviors: Names, paths to TOML files, or loaded behaviors.
        vectors: Vectors, or FILE:LAYER (`cw.units`).
        out: Run directory; None keeps the ledger in memory.
        seed: Seed of everything random.
        include_neurons: Name vectors and doses of sensitive behaviors of a model that is no organism.
        progress: Where progress is shown.

    Returns:
        Windows by behavior, vector and branch; `neuron` is the vector's name, and nothing tells whether a closed one is
        too late.

    Raises:
        UsageError: No vector is given, two have one name, or one does not fit the model.
        BehaviorError: A behavior is invalid, or too few of its prompts are eligible.
        LedgerError: The directory holds another run, or cannot be written.
    """
    listed = [behaviors] if isinstance(behaviors, str | Path | Behavior) else list(behaviors)
    held = [vector_of(model, vector) for vector in vectors]
    names = [vector.name for vector in held]
    if not held or not listed:
        raise UsageError("a vector and a behavior are needed", "give --vector FILE:LAYER and --behavior NAME")
    if len(set(names)) < len(names):
        raise UsageError(f"two vectors share a name: {', '.join(names)}", "give each once, files under other names")
    loaded = [(given, load_to_run(given)) for given in listed]
    plan = VectorsPlan(
        **model_head(model),
        behaviors=tuple(behavior_reference(given, behavior) for given, behavior in loaded),
        vectors=tuple(VectorReference(name=v.name, layer=v.layer, sha256=digest(v)) for v in held),
        seed=seed,
        include_neurons=include_neurons,
    ).named()
    directory = None if out is None else Path(out)
    with run_ledger(directory) as ledger:
        job = VectorsJob(model, [behavior for _, behavior in loaded], plan, ledger, held, progress or Silent())
        found: list[Window] = VectorsKind().carry_out(job, directory)
    return found


def digest(vector: ResidualVector) -> str:
    """SHA-256 of a vector's values."""
    return hashlib.sha256(vector.values.numpy().astype("<f4").tobytes()).hexdigest()
