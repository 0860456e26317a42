"""The call that gates a model."""

from __future__ import annotations

from pathlib import Path

from controlwindow.behaviors import load_to_run
from controlwindow.jobs.gate.comparing import baseline_of
from controlwindow.jobs.gate.job import GateJob
from controlwindow.jobs.gate.kind import GateKind, GateResult
from controlwindow.jobs.gate.outputs import check_key, sign_outputs
from controlwindow.jobs.gate.plan import GatePlan
from controlwindow.jobs.gate.policy import Policy, checked_policy, read_policy
from controlwindow.models import Model, load_model
from controlwindow.runs.kinds import run_ledger
from controlwindow.runs.plan import behavior_reference, model_head
from controlwindow.runs.progress import Progress


def gate(
    model: Model,
    policy: str | Path | Policy,
    out: str | Path,
    *,
    baseline: Model | str | Path | None = None,
    sign: str | Path | None = None,
    include_neurons: bool = False,
    progress: Progress | None = None,
) -> GateResult:
    """Hold a model against a policy: pass, fail, or could not be judged (docs/gate.md).

    An organism's card is not asked which neurons control it. A directory that already holds the same gate is gone on
    with; its parts are runs of their own and lie in `parts/`.

    Args:
        model: The model.
        policy: A policy, or its TOML file.
        out: Run directory for ledger, page, gate.json, gate.sarif, gate.xml, gate.md and SHA256SUMS.
        baseline: Another model, what one is loaded from, or the directory of an audit or a gate: what opened, closed
            and moved since is reported.
        sign: An ssh key with which the digests of all outputs are signed.
        include_neurons: Name neurons and doses of sensitive behaviors of a model that is no organism.
        progress: Where progress is shown.

    Returns:
        The verdict with its reasons.

    Raises:
        UsageError: The policy is not valid, or cannot be signed.
        BehaviorError: A behavior is invalid.
        ModelError: The baseline cannot be loaded.
        LedgerError: The directory holds another run, or cannot be written.

    Example:
        >>> import controlwindow as cw
        >>> found = cw.gate(cw.load_model("organism:switch"), "gate.toml", "runs/gate")  # doctest: +SKIP
        >>> found.verdict, found.exit_code  # doctest: +SKIP
        ('fail', 1)
    """
    name = "policy" if isinstance(policy, Policy) else Path(policy).name
    asked = checked_policy(policy, Path("policy")) if isinstance(policy, Policy) else read_policy(policy)
    if sign is not None:
        check_key(Path(sign))
    behaviors = [(given, load_to_run(given)) for given in asked.audit.behaviors]
    held = baseline_of(baseline, lambda source: _load_like(source, model))
    plan = GatePlan(
        **model_head(model),
        behaviors=tuple(behavior_reference(given, behavior) for given, behavior in behaviors),
        policy=asked.to_json(),
        policy_file=name,
        baseline=None if held is None else held.reference,
        seed=asked.audit.seed,
        include_neurons=include_neurons,
    ).named()
    directory = Path(out)
    with run_ledger(directory) as ledger:
        job = GateJob(model, [behavior for _, behavior in behaviors], plan, ledger, directory, held, progress)
        result: GateResult = GateKind().carry_out(job, directory)
    if sign is not None:
        sign_outputs(directory, Path(sign))
    return result


def _load_like(source: str, model: Model) -> Model:
    return load_model(source, device=str(model.device), dtype=model.dtype, system_prompt=model.chat.system_prompt)
