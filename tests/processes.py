"""Starts programs for the tests, and stops them by their process identifiers."""

import contextlib
import http.client
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping

from tests.servers_process import find_port

#: Longest wait for anything that a test starts, in seconds.
PATIENCE = 30.0


def free_port() -> int:
    """Return a loopback port that is free, and that no outgoing connection gets."""
    return find_port()


def clean_environment(**variables: str) -> dict[str, str]:
    """Return an environment without variables that a program under test would read."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "error", **variables}


@contextlib.contextmanager
def running(
    *arguments: str, cwd: pathlib.Path, env: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Run a Python program for the length of a block; its output is in ``.stdout``."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env=dict(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)
        if process.stdout:
            process.stdout.close()


def get(url: str, process: subprocess.Popen[str] | None = None) -> str:
    """Return the body of a page, as soon as the server answers."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return str(answer.read().decode())
        except (ConnectionError, http.client.HTTPException):
            pass
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionError):
                raise
        if process is not None and process.poll() is not None and process.stdout:
            raise AssertionError(process.stdout.read())
        assert time.monotonic() < deadline, f"{url} does not answer"
        time.sleep(0.02)
