"""The command `live`: it serves until it is interrupted, and says what is missing before it loads anything."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import httpx
import pytest


def test_without_its_extra_the_command_says_what_to_install(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    said = command("live", "organism:switch")
    assert said.code == 2
    assert "needs uvicorn" in said.err
    assert "pip install 'controlwindow[live]'" in said.err


def test_options_of_a_model_do_not_go_with_a_run(command, run_directory):
    said = command("live", run_directory, "--neuron", "L3.N7")
    assert said.code == 2
    assert "is a run" in said.err


def test_a_run_whose_behaviors_are_all_sensitive_needs_the_flag(command, run_directory):
    said = command("live", run_directory)
    assert said.code == 2
    assert "every behavior" in said.err
    assert "--include-sensitive" in said.err


def test_a_port_that_is_taken_is_named(command, monkeypatch):
    import socket

    from controlwindow.errors import UsageError
    from controlwindow.live.serving import listening_socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port}"):
            listening_socket(port)


@pytest.mark.skipif(os.name == "nt", reason="interrupts are signals here")
def test_it_prints_one_link_serves_it_and_ends_quietly_when_interrupted(run_directory):
    words = ["live", str(run_directory), "--include-sensitive"]
    # A shell's background process has interrupts off, and so would its children.
    served = subprocess.Popen(
        [sys.executable, "-c", f"import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
         f"sys.argv = ['controlwindow', *{words!r}]; from controlwindow.cli import main; main()"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert served.stdout is not None
        link = served.stdout.readline().strip()
        address, token = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/#token=([\w-]{32})", link).groups()
        assert httpx.get(f"{address}/api/scene").status_code == 401
        scene = httpx.get(f"{address}/api/scene", headers={"authorization": f"Bearer {token}"}).json()
        assert [behavior["name"] for behavior in scene["behaviors"]] == ["vaults"]
        assert scene["handles"][0]["window"]["verdict"] == "open"
        served.send_signal(signal.SIGINT)
        out, err = served.communicate(timeout=60)
    finally:
        served.kill()
    assert served.returncode == 0
    assert out == ""
    assert token not in err
    assert "Traceback" not in err
