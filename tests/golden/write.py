"""Write the golden results anew, from the code as it is: `PYTHONPATH=tests python tests/golden/write.py [KIND]...`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from golden.behaviors import write_behaviors
from golden.runs import GOLDEN, command_lines, pinned


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for kind, words in command_lines(*write_behaviors(Path(folder))).items():
            if sys.argv[1:] and kind not in sys.argv[1:]:
                continue
            out = Path(folder) / kind
            command = [sys.executable, "-m", "controlwindow", *words, "--out", str(out), "--json"]
            # As in the tests: what an earlier run left on disk is not looked at.
            environment = {**os.environ, "CONTROLWINDOW_CACHE": "off"}
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
            found = pinned(json.loads(done.stdout), list(out.rglob("ledger.sqlite")))
            (GOLDEN / f"{kind}.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
