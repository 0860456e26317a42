"""Results of a run, read from its ledger alone: no model is loaded, and an unfinished run gives what it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controlwindow.errors import LedgerError
from controlwindow.jobs.audit.plan import AuditPlan
from controlwindow.measuring.judgements import JUDGEMENTS, reply_counts
from controlwindow.report.judged import corrected_shares, judge_uses, oracle_figures
from controlwindow.report.pages.audit.coverage import ScreenKnown, known_sentence
from controlwindow.runs.ledger import Ledger, behavior_records
from controlwindow.screens.known import known_recall
from controlwindow.statistics import exact_interval
from controlwindow.values import round_floats

NONE_FOUND = "That none is open among those tested would not mean that none exists."
_WINDOW_KEYS = (
    "neuron", "behavior", "branch", "candidate_from", "trigger", "trigger_interval", "ceiling", "ceiling_interval",
    "ceiling_predicted", "ceiling_predicted_interval", "height", "height_interval", "verdict", "verdict_probability",
    "decided", "failure_mode", "outcomes", "outcomes_at", "triggers_by_outcome", "sampled", "propagation",
    "n_eligible", "c0", "trigger_t", "ceiling_t", "budget", "predictions", "budget_kind", "plateau", "routed_share",
    "ceiling_reachable", "injected_trigger", "float32_check",
)  # fmt: skip
_LACKING: dict[str, Any] = {
    "budget_kind": "plain", "plateau": None, "routed_share": None, "ceiling_reachable": None, "injected_trigger": None,
    "float32_check": None,
}  # fmt: skip
"""What windows recorded before there were caps, experts and float32 checks lack."""


@dataclass(frozen=True)
class RunResults:
    """What a ledger holds.

    Attributes:
        plan: The plan.
        model: What is recorded of the model.
        behaviors: Records of the behaviors by name.
        windows: Records of the windows with their panels, open ones of a behavior first.
        selections: Tested neurons and their ranks, by behavior.
        finished: Whether the audit ran to its end.
        judging: Judges and agreement with people, by behavior; of those that have any.
    """

    plan: AuditPlan
    model: dict[str, Any]
    behaviors: dict[str, dict[str, Any]]
    windows: list[dict[str, Any]]
    selections: dict[str, dict[str, Any]]
    finished: bool
    judging: dict[str, dict[str, Any]] = field(default_factory=dict)

    def _window(self, window: Mapping[str, Any]) -> dict[str, Any]:
        values = {key: window.get(key) for key in _WINDOW_KEYS}
        corrected = corrected_shares(
            self.behaviors[window["behavior"]], window.get("outcomes") or {}, window.get("n_eligible", 0)
        )
        return {**values, "corrected": corrected} if corrected else values

    def coverage(self) -> dict[str, Any]:
        """How much was tested, and what that does not show."""
        tested = {w["neuron"] for w in self.windows}
        rates = [open_rate(self.windows, name) for name in self.behaviors]
        return {
            "neurons_tested": len(tested),
            "neurons_total": self.model["neurons_total"],
            "statement": self._statement(len(tested), rates),
            "open_random": [rate for rate in rates if rate["n"]],
            "screen_recall": self.screen_recall(),
            "screen_known": self.screen_known(),
            "passed_over": self.passed_over(),
            "unaided": self.unaided(),
        }

    def screen_recall(self) -> list[dict[str, Any]]:
        """Where each screen ranked each planted neuron."""
        found = []
        for behavior, selection in self.selections.items():
            planted = [name for name, source in selection["sources"].items() if source == "planted"]
            for screen, ranks in selection["ranks"].items():
                found += [
                    {
                        "behavior": behavior,
                        "screen": screen,
                        "planted": name,
                        "rank": ranks[name],
                        "of": selection["sizes"][screen],
                    }
                    for name in planted
                ]
        return found

    def screen_known(self) -> dict[str, Any] | None:
        """What share of the organisms' planted controllers the screen has among as many places; None without one."""
        if not self.plan.top:
            return None
        found = known_recall(self.plan.screen, self.plan.top)
        shown = None if found is None else {"k": found.k, "n": found.n, "interval": list(found.interval)}
        return {"screen": self.plan.screen, "top": self.plan.top, "found": shown}

    def passed_over(self) -> list[dict[str, Any]]:
        """The screen's neurons that were not tested since a dose of theirs comes too late."""
        return [
            {"behavior": behavior, "neuron": name, "propagation": propagation}
            for behavior, selection in self.selections.items()
            for name, propagation in selection.get("passed_over", {}).items()
        ]

    def unaided(self) -> list[dict[str, Any]]:
        """What the screen brings of itself where planted or named neurons were tested too, and how many of it open."""
        found = []
        for behavior, selection in self.selections.items():
            names = selection.get("unaided") or []
            mine = [w for w in self.windows if w["behavior"] == behavior]
            opened = {w["neuron"] for w in mine if w["verdict"] == "open"}
            tested = bool(names) and set(names) <= {w["neuron"] for w in mine}
            if tested and {"planted", "named"} & set(selection["sources"].values()):
                found.append({"behavior": behavior, "neurons": names, "open": len(opened & set(names))})
        return found

    def _statement(self, tested: int, rates: Sequence[Mapping[str, Any]]) -> str:
        total = self.model["neurons_total"]
        parts = [f"{tested} of {total} neurons were tested. {NONE_FOUND}"]
        for rate in rates:
            if rate["n"]:
                low, high = rate["interval"]
                parts.append(
                    f"{rate['behavior']}: {rate['k']} of {rate['n']} random neurons open on some branch; the open rate "
                    f"among the neurons not chosen for a reason lies in [{low:.1%}, {high:.1%}] (95 %)."
                )
        recall = [r for r in self.screen_recall() if r["screen"] == self.plan.screen]
        if recall:
            hits = sum(r["rank"] is not None and r["rank"] <= self.plan.top for r in recall)
            parts.append(
                f"The screen {self.plan.screen!r} would have brought {hits} of {len(recall)} planted controllers "
                f"among its top {self.plan.top}."
            )
        known = self.screen_known()
        if known is not None:
            said = known_sentence(ScreenKnown.model_validate(known))
            parts.append(f"{said[0].upper()}{said[1:]}.")
        late = self.passed_over()
        if late:
            parts.append(f"Passed over since their doses come too late: {', '.join(one['neuron'] for one in late)}.")
        return " ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The document that `results --json` prints: no times and no paths, floats rounded to 6 digits."""
        document = {
            "run": self.plan.run,
            "model": self.model["name"],
            "fingerprint": self.model["fingerprint"],
            "finished": self.finished,
            "coverage": self.coverage(),
            "windows": [self._window(window) for window in self.windows],
        }
        if self.judging:
            document["judging"] = self.judging
        rounded: dict[str, Any] = round_floats(document)
        return rounded


def _judging(ledger: Ledger, behaviors: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of behaviors that a model judges, or whose oracles were held against people: how."""
    kept, found = ledger.find_all(JUDGEMENTS), {}
    for name, record in behaviors.items():
        judges, figures = judge_uses(record, reply_counts(kept, name)), oracle_figures(record)
        if judges or figures:
            found[name] = {"judges": judges, "figures": figures}
    return found


def open_rate(windows: Sequence[Mapping[str, Any]], behavior: str) -> dict[str, Any]:
    """Random neurons that open on some branch, with the exact 95 % interval of the rate."""
    random = [w for w in windows if w["behavior"] == behavior and w["candidate_from"] == "random"]
    neurons = {w["neuron"] for w in random}
    opened = {w["neuron"] for w in random if w["verdict"] == "open"}
    return {
        "behavior": behavior,
        "k": len(opened),
        "n": len(neurons),
        "interval": list(exact_interval(len(opened), len(neurons))),
    }


def read_results(ledger: Ledger) -> RunResults:
    """Results of an open ledger.

    Raises:
        LedgerError: The ledger holds no audit.
    """
    plan = ledger.find("plan", "audit")
    if plan is None:
        raise LedgerError(f"{ledger.path} holds no audit yet", "start it again with `controlwindow audit --out`")
    behaviors = behavior_records(ledger)
    windows = [{**_LACKING, **window} for window in ledger.find_all("window").values()]
    order = {name: place for place, name in enumerate(behaviors)}
    windows.sort(key=lambda w: (order[w["behavior"]], w["verdict"] != "open"))
    return RunResults(
        plan=AuditPlan.from_record(plan),
        model=ledger.find("model", "model") or {},
        behaviors=behaviors,
        windows=windows,
        selections=ledger.find_all("selection"),
        finished=ledger.find("finished", "audit") is not None,
        judging=_judging(ledger, behaviors),
    )
