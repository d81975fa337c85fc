"""The newsroom as a program of its own, and its workers."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import typing as t
import urllib.parse
from collections.abc import Iterator

from tests.processes import PATIENCE, clean_environment, free_port, get, running

EXAMPLES: t.Final = pathlib.Path(__file__).parents[2] / "examples"
PASSWORD: t.Final = "for this machine only"


class Workers:
    """Worker processes, and the most memory that each of them had."""

    def __init__(self, log: pathlib.Path, variables: dict[str, str]) -> None:
        self._log, self.variables = log, variables
        self._processes: list[subprocess.Popen[bytes]] = []
        self.peaks: dict[int, int] = {}

    def start(self) -> None:
        command = [sys.executable, "-m", "flask", "--app", "newsroom"]
        command += ["quorum", "worker", "--processes=1", "--threads=4"]
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=EXAMPLES,
                env=clean_environment(**self.variables),
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)

    def kill_first(self) -> None:
        """End a worker as the kernel does when memory runs out: nothing is told."""
        process = self._processes.pop(0)
        children = self._find_children(process)
        process.kill()
        for child in children:
            os.kill(child, signal.SIGKILL)
        process.wait()

    def measure(self) -> None:
        for process in self._processes:
            for pid in self._find_children(process):
                with contextlib.suppress(OSError):
                    status = pathlib.Path(f"/proc/{pid}/status").read_text()
                    found = re.search(r"VmHWM:\s*(\d+) kB", status)
                    self.peaks[pid] = int(found[1]) if found else 0

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @staticmethod
    def _find_children(process: subprocess.Popen[bytes]) -> list[int]:
        task = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        return [int(word) for word in task.read_text().split()]


@contextlib.contextmanager
def serving(folder: pathlib.Path, **variables: str) -> Iterator[Workers]:
    """Serve the newsroom at a free port; its workers wait to be started."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    mongo = urllib.parse.urlsplit(variables["MONGOHQ_URL"])
    told = {
        **variables,
        "MONGOHQ_URL": mongo._replace(path=f"/news{port}").geturl(),
        "NEWSROOM_URL": url,
        "PORT": str(port),
        "PYTHONWARNINGS": "default",
    }
    workers = Workers(folder / "log", told)
    environment = clean_environment(**told)
    with running("-m", "newsroom", cwd=EXAMPLES, env=environment) as process:
        get(url, process)
        try:
            yield workers
        finally:
            workers.stop()
