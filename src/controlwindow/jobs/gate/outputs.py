"""What a gate leaves behind: page, JSON, SARIF, JUnit XML, a block for a model card, digests, and a signature."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

from controlwindow.errors import ReportError, UsageError
from controlwindow.report.pages.gate.card import card_text
from controlwindow.report.pages.gate.document import GateDocument
from controlwindow.report.pages.gate.junit import junit_text
from controlwindow.report.pages.gate.page import render_gate
from controlwindow.report.pages.gate.sarif import sarif_text
from controlwindow.report.writing import replace_file, write_page

NAMESPACE = "controlwindow-gate"
"""What signatures are made for, so that one made for something else is none here."""

SUMS = "SHA256SUMS"
OUTPUTS = ("gate.json", "gate.sarif", "gate.xml", "gate.md", "report.html")


def gate_json(document: GateDocument) -> str:
    """The document as `gate.json` holds it."""
    values = document.model_dump(mode="json")
    return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_outputs(document: GateDocument, directory: Path) -> Path:
    """Write every output of a document that has been made shareable; an older signature, which no longer holds, goes.

    Returns:
        Where the page lies.

    Raises:
        ReportError: A file cannot be written.
    """
    page = write_page(render_gate(document), directory)
    texts = {
        "gate.json": gate_json(document),
        "gate.sarif": sarif_text(document),
        "gate.xml": junit_text(document),
        "gate.md": card_text(document),
    }
    try:
        for name, text in texts.items():
            replace_file(directory / name, text)
        sums = "".join(f"{_digest(directory / name)}  {name}\n" for name in OUTPUTS)
        known = directory / SUMS
        if not known.is_file() or known.read_text("utf-8") != sums:
            (directory / f"{SUMS}.sig").unlink(missing_ok=True)
        replace_file(known, sums)
    except OSError as error:
        raise ReportError(
            f"a gate's outputs cannot be written to {directory}: {error.strerror or error}",
            "free some space or choose a directory you may write to, then run `controlwindow report` on the run",
        ) from error
    return page


def sign_outputs(directory: Path, key: Path) -> Path:
    """Sign the digests of all outputs with an ssh key, detached, by `ssh-keygen -Y sign`.

    Args:
        directory: The gate's directory.
        key: A private key, or a public one whose private key an agent holds.

    Returns:
        The signature.

    Raises:
        UsageError: There is no ssh-keygen, or it does not sign with this key.
    """
    check_key(key)
    sums = directory / SUMS
    signature = sums.with_name(f"{SUMS}.sig")
    signature.unlink(missing_ok=True)
    done = subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(sums)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not signature.is_file():
        raise UsageError(
            f"ssh-keygen does not sign with {key}: {done.stderr.strip() or 'it says nothing'}",
            "give a key without a passphrase, or the public key of one that ssh-agent holds; the gate itself is done",
        )
    return signature


def check_key(key: Path) -> None:
    """Refuse a signature that cannot be made, before anything is measured.

    Raises:
        UsageError: There is no ssh-keygen, or no such file.
    """
    if shutil.which("ssh-keygen") is None:
        raise UsageError("--sign needs ssh-keygen, which is not installed", "install OpenSSH's client")
    if not key.is_file():
        raise UsageError(f"no key at {key}", "give the file of an ssh key, as ssh-keygen -t ed25519 makes one")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
