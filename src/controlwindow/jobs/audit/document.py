"""From a ledger to the document that a report is drawn from. No model is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controlwindow.behaviors.controls import COLLAPSED_KINDS
from controlwindow.cells import RolloutCell
from controlwindow.jobs.audit.results import RunResults, read_results
from controlwindow.measuring.judgements import JUDGEMENTS, reply_counts
from controlwindow.report.judged import corrected_shares, judge_uses, oracle_figures
from controlwindow.report.pages.audit.document import ReportDocument, load_document
from controlwindow.runs.ledger import Ledger
from controlwindow.windows.calibration import Calibration, shipped_calibration
from controlwindow.windows.features import subject_of_layer
from controlwindow.windows.layer_features import features_from_record
from controlwindow.windows.likeness import unlike
from controlwindow.windows.predictors import Predictor

_SAMPLED_DOSES = 7
_DOSE_KEYS = ("t", "c", "c_measured", "c_measured_interval", "n", "collapsed", "shares", "target_interval")


def report_document(ledger: Ledger) -> ReportDocument:
    """The report of a run, finished or not.

    Raises:
        LedgerError: The ledger holds no audit.
        ReportError: It was written by another version, or edited.
    """
    results = read_results(ledger)
    plan = results.plan
    coherence = ledger.find("coherence", "detector")
    generic = ledger.find("generic", "generic")
    calibration = shipped_calibration()
    predictions = ledger.find_all("prediction")
    first = next(iter(predictions.values()), None)
    notes = [] if results.finished else ["This run is unfinished: `controlwindow resume` goes on with it."]
    notes += [f"To fit its time budget, this audit measured {said}." for said in plan.given_up]
    notes += _reused(ledger.find("reused", "reused") or {})
    notes += _origin(ledger.find("origin", "model") or {})
    for window in results.windows:
        ties = sum(dose["ties"] for dose in window["doses"])
        if ties:
            notes.append(
                f"{window['neuron']} {window['branch']:+d}, {window['behavior']}: {ties} decoding steps had a top-two "
                "margin below 1e-4, where a correct implementation may choose another token."
            )
    return load_document(
        {
            "run": plan.run,
            "model": results.model,
            "versions": ledger.find("versions", "versions") or {},
            "seed": plan.seed,
            "configuration": plan.record(),
            # The report says the rest beside each behavior's table.
            "coverage": {key: value for key, value in results.coverage().items() if key != "statement"},
            "coherence": _coherence(coherence),
            "generic": _generic(generic, calibration.predictors[calibration.default_for("1/2")] if first else None),
            "behaviors": [_behavior(record, ledger, results) for record in results.behaviors.values()],
            "predictions": {
                "default": first["default"] if first else calibration.default,
                "names": list(first["values"]) if first else list(calibration.predictors),
                "in_sample": bool(first and first["in_sample"]),
                "committed_before_rollouts": _committed_first(ledger, predictions),
                "unlike": _unlike(generic, calibration) if first and not first["in_sample"] else (),
            },
            "windows": [_window(window, ledger, results) for window in results.windows],
            "notes": notes,
        }
    )


def _reused(kept: Mapping[str, str]) -> list[str]:
    if not kept:
        return []
    what = "; ".join(f"{name} of {made}" for name, made in sorted(kept.items()))
    return [f"Not computed in this run but kept from an earlier one, with the same model and versions: {what}."]


def _committed_first(ledger: Ledger, predictions: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether every prediction stands before the first rollout of its neuron, for whatever behavior."""
    for name, prediction in predictions.items():
        rollout = ledger.first_rollout(prediction["neuron"])
        sequence = ledger.sequence("prediction", name)
        if rollout is not None and (sequence is None or sequence > rollout):
            return False
    return bool(predictions)


def _coherence(record: Mapping[str, Any] | None) -> dict[str, Any]:
    if record is None:
        return {"thresholds": {}}
    calibration = record["calibration"]
    return {
        "thresholds": calibration["thresholds"],
        "scale": calibration["scale"],
        "auc": calibration["auc"],
        "agreement": calibration["agreement"],
        "agreement_interval": calibration["agreement_interval"],
        "controls": [
            {
                "control": f"{_field(share, 'kind', 0)}, {_field(share, 'length', 1)} tokens",
                "label": "collapsed" if _field(share, "kind", 0) in COLLAPSED_KINDS else "coherent",
                "n": _field(share, "total", 3),
                "share_collapsed": _field(share, "collapsed", 2) / _field(share, "total", 3),
            }
            for share in calibration["shares"]
        ],
    }


def _field(value: Any, name: str, place: int) -> Any:
    # Named tuples become lists in JSON.
    return value[name] if isinstance(value, Mapping) else value[place]


def _unlike(record: Mapping[str, Any] | None, calibration: Calibration) -> tuple[str, ...]:
    layers = [] if record is None else record["layers"]
    return unlike([features_from_record(layer) for layer in layers if "entropy" in layer], calibration)


def _generic(record: Mapping[str, Any] | None, predictor: Predictor | None) -> dict[str, Any]:
    if record is None:
        return {"prompts": 0, "tokens": 0, "layers": []}
    layers = []
    for layer in record["layers"]:
        # Ledgers written before predictors read more than one feature hold less of a layer.
        features = features_from_record(layer) if "depth" in layer else None
        ceiling = None if predictor is None or features is None else predictor.ceiling(subject_of_layer(features))
        layers.append(
            {
                "layer": layer["layer"],
                "residual_norm": layer["residual_norm"],
                "participation_ratio": layer["participation_ratio"],
                "probe_t": layer["probe_dose"] if features is None else features.probe_dose,
                "ceiling_predicted": None if ceiling is None else ceiling.value,
            }
        )
    return {"prompts": record["prompts"], "tokens": record["tokens"], "layers": layers}


def _behavior(record: Mapping[str, Any], ledger: Ledger, results: RunResults) -> dict[str, Any]:
    windows = [w for w in results.windows if w["behavior"] == record["name"]]
    known = {k: v for k, v in record.items() if k not in ("texts", "fingerprint", "judges", "agreement")}
    if "judges" in record:
        replies = reply_counts(ledger.find_all(JUDGEMENTS), record["name"])
        known["judges"] = judge_uses(record, replies)
    if "agreement" in record:
        known["figures"] = oracle_figures(record)
    eligible = windows[0]["n_eligible"] if windows else 0
    shipped = any(b.name == record["name"] == b.source for b in results.plan.behaviors)
    invented = shipped and bool(results.model.get("organism"))
    return {**known, "invented": invented, "prompts": {**record["prompts"], "eligible": eligible}}


def _window(window: Mapping[str, Any], ledger: Ledger, results: RunResults) -> dict[str, Any]:
    corrected = corrected_shares(results.behaviors[window["behavior"]], window["outcomes"], window["n_eligible"])
    return {
        **window,
        **({"corrected": corrected} if corrected else {}),
        "layer": int(window["neuron"].split(".")[0][1:]),
        "float32_check": _checked(window.get("float32_check")),
        "doses": [{key: dose[key] for key in _DOSE_KEYS} for dose in window["doses"]],
        "panel": {**window["panel"], "samples": _samples(window, ledger, results)},
    }


def _checked(check: Mapping[str, Any] | None) -> str | None:
    return None if check is None else "held" if check["holds"] else "changed"


def _samples(window: Mapping[str, Any], ledger: Ledger, results: RunResults) -> list[dict[str, Any]]:
    """A typical rollout at each of a few doses spread over the window, so that a reader sees the behavior change."""
    behavior = results.behaviors[window["behavior"]]
    cells: dict[float, list[RolloutCell]] = {}
    for cell in ledger.rollout_cells(window["behavior"], window["neuron"]):
        if cell.branch == window["branch"] and cell.sample_seed is None and cell.site == "activation":
            cells.setdefault(cell.t, []).append(cell)
    last = str(behavior["horizons"][-1])
    undosed = RolloutCell(
        behavior["name"], "evaluate", horizon=behavior["horizons"][-1], positions=behavior["positions"]
    )
    cells[0.0] = [undosed]
    samples = []
    for dose in _spread([d for d in window["doses"] if d["t"] in cells], _SAMPLED_DOSES):
        rows = [row for cell in cells[dose["t"]] for row in ledger.rows(cell) or []]
        # Without one block's completions all are withheld: the file is not here.
        stored = [ledger.completions(cell) for cell in cells[dose["t"]]] if behavior["sensitive"] else [None]
        secrets = [row for block in stored for row in block or []] if all(stored) else None
        # The prompt whose outcome is the most frequent one at this dose speaks for it.
        shares = dose["shares"][last]
        common = max(shares, key=lambda outcome: shares[outcome])
        place = next(i for i, row in enumerate(rows) if row["outcomes"][last] == common)
        text = secrets[place]["text"] if secrets else rows[place].get("text")
        if text is not None and rows[place].get("cut"):
            text += " …"
        samples.append(
            {
                "t": dose["t"],
                "c": dose["c"],
                "outcome": common,
                "prompt": behavior["texts"][rows[place]["prompt"]],
                "text": text,
            }
        )
    return samples


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _origin(origin: Mapping[str, Any]) -> list[str]:
    """What a reader must know of how the weights came about and how prompts are rendered."""
    notes = []
    if origin.get("quantisation"):
        digest = str(origin["file_sha256"])[:16]
        notes.append(f"The weights were dequantised from {origin['quantisation']} (GGUF file with SHA-256 {digest}…).")
    if origin.get("adapter"):
        notes.append(f"An adapter was merged into the weights on loading: {origin['adapter']['name']}.")
    if origin.get("date"):
        notes.append(f"The chat template reads a clock, which showed {origin['date']} throughout.")
    notes += [str(note) for note in origin.get("notes", ())]
    if origin.get("example"):
        notes.append(f"An ordinary prompt as the model is given it: {origin['example']!r}.")
    return notes
