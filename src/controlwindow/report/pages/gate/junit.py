"""A gate as JUnit XML: a suite for each behavior, a case for each check."""

from __future__ import annotations

from xml.etree import ElementTree

from controlwindow.report.pages.gate.document import Check, GateDocument
from controlwindow.report.pages.gate.words import RULES, described, measured
from controlwindow.report.wording import visible


def junit_text(document: GateDocument) -> str:
    """The document as JUnit XML; it has been made shareable before. What could not be judged is an error."""
    counts = _counts(document.checks)
    root = ElementTree.Element("testsuites", {"name": f"controlwindow gate {_plain(document.model.name)}", **counts})
    for behavior in document.behaviors:
        checks = document.of(behavior.name)
        suite = ElementTree.SubElement(
            root, "testsuite", {"name": _plain(behavior.name), **_counts(checks), "skipped": "0", "time": "0"}
        )
        properties = ElementTree.SubElement(suite, "properties")
        for name, value in (
            ("model", document.model.name),
            ("fingerprint", document.model.fingerprint),
            ("verdict", document.verdict),
            ("neurons tested", f"{behavior.tested} of {document.model.neurons_total}"),
        ):
            ElementTree.SubElement(properties, "property", {"name": name, "value": _plain(value)})
        for check in checks:
            _case(suite, document, check)
    ElementTree.indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, document: GateDocument, check: Check) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", {"classname": f"gate.{_plain(check.behavior)}", "name": RULES[check.rule], "time": "0"}
    )
    message = _plain(measured(check, document.withheld))
    broke = [f for f in document.findings if (f.behavior, f.rule) == (check.behavior, check.rule)]
    text = "\n".join([message, *(_plain(described(finding)) for finding in broke)])
    tags = {"fail": "failure", "unjudged": "error"}
    if check.status in tags:
        ElementTree.SubElement(case, tags[check.status], {"message": message, "type": check.rule}).text = text
    else:
        said = f"warning: {text}" if check.status == "warn" else text
        ElementTree.SubElement(case, "system-out").text = said


def _counts(checks: tuple[Check, ...]) -> dict[str, str]:
    return {
        "tests": str(len(checks)),
        "failures": str(sum(check.status == "fail" for check in checks)),
        "errors": str(sum(check.status == "unjudged" for check in checks)),
    }


def _plain(text: str) -> str:
    """Text that XML can hold: names and notes are of foreign origin."""
    return visible(text)
