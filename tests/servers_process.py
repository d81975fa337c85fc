"""What the servers of :mod:`tests.servers` share: a process, a port, a folder."""

import abc
import atexit
import contextlib
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import typing as t
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

HOST: t.Final = "127.0.0.1"

# Below the ports that Linux gives to outgoing connections (32768 and up). With
# one of those, a client that keeps trying a killed server can be given the very
# port it tries: it then talks to itself, and the server cannot come back.
PORTS: t.Final = range(15_000, 32_000)

# Settings of whoever runs the tests that would change the servers.
FOREIGN: t.Final = ("PYTHONWARNINGS", "RABBITMQ_", "ERL_", "FERRETDB_", "MOTO_")

Process: t.TypeAlias = subprocess.Popen[bytes]

# Not the random numbers of the tests: they may have a seed, and two test runs
# at the same time would then ask for the same ports.
_ports: t.Final = iter(random.SystemRandom().sample(PORTS, len(PORTS)))


class ServerError(Exception):
    """Raised when a server does not do what it was told to."""


def find_port() -> int:
    """Find a loopback port that is free and was not found before."""
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise ServerError("No free port was found.")


def exchange(host: str, port: int, said: bytes, *expected: bytes) -> bool:
    """Tell whether something listens there that answers as expected.

    :param host: Where to connect to.
    :param port: Where to connect to.
    :param said: What to say first.
    :param expected: Beginnings of a good answer. Without any, listening is enough.
    """
    try:
        with socket.create_connection((host, port), 1.0) as connection:
            connection.sendall(said)
            heard = b""
            longest = max(map(len, expected), default=0)
            while len(heard) < longest and (more := connection.recv(64)):
                heard += more
            return not expected or heard.startswith(expected)
    except OSError:
        return False


def join_credentials(user: str, password: str) -> str:
    """Write a user and password as a URL does, with the sign that ends them."""
    return f"{quote(user, safe='')}:{quote(password, safe='')}@"


def find_absent(*modules: str) -> str | None:
    """Say which of these Python modules is not installed, if any."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed: pip install 'quorum-flask[test]'"
    return None


class Server(abc.ABC):
    """A server in a process of its own."""

    name: t.ClassVar[str]
    start_timeout: t.ClassVar[float] = 20.0
    stop_timeout: t.ClassVar[float] = 10.0

    def __init__(self) -> None:
        self.host: str = HOST
        self.port = find_port()
        self._folder: Path | None = None
        self._process: Process | None = None
        self._starter = os.getpid()

    @staticmethod
    @abc.abstractmethod
    def missing() -> str | None:
        """Say why the server cannot run here, if so."""

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """Where a client finds the server, credentials included."""

    @property
    def folder(self) -> Path:
        """The folder of the server's files, there until the server is stopped."""
        if self._folder is None:
            raise ServerError(f"{self.name} has no folder, as it is not started.")
        return self._folder

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise ServerError(f"{self.name} is not running.")
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers.

        :raises ServerError: If it cannot run here, runs already, or is not ready
            in time. Nothing is left behind, and the error shows the end of its
            log.
        """
        if self._process is not None:
            raise ServerError(f"{self.name} is running already.")
        if reason := self.missing():
            raise ServerError(f"{reason}.")
        self._starter = os.getpid()
        _started.add(self)
        try:
            is_new = self._folder is None
            if is_new:
                # The name of a unix socket has at most 107 bytes: not TMPDIR.
                self._folder = Path(tempfile.mkdtemp(prefix="quorum-", dir="/tmp"))
            self._launch(is_new=is_new)
        except BaseException:
            self._discard()
            raise

    def stop(self) -> None:
        """Stop the server cleanly and remove its folder.

        Stopping a stopped server does nothing. A paused one is stopped too.

        :raises ServerError: If SIGTERM did not end it in time. SIGKILL has then.
        """
        try:
            self._end()
        finally:
            self._discard()

    def kill(self) -> None:
        """Kill the server with SIGKILL; its folder stays for :meth:`restart`."""
        self._signal(signal.SIGKILL)
        process, self._process = self._process, None
        if process is not None:
            process.wait()

    def restart(self) -> None:
        """Start the server again on the same port and folder.

        One that still runs is ended first, cleanly.
        """
        self._end()
        self.start()

    def pause(self) -> None:
        """Make the server hang: it still listens but answers nobody."""
        self._signal(signal.SIGSTOP)
        # Its threads stop one after the other, and may answer until then.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._signal(signal.SIGCONT)

    def __enter__(self) -> t.Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @abc.abstractmethod
    def _get_command(self) -> Sequence[str | Path]:
        """Give the command that runs the server in the foreground."""

    def _get_environment(self) -> dict[str, str]:
        """Give the environment that the server runs in."""
        return {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}

    def _answers(self) -> bool:
        """Tell whether the server is ready."""
        return exchange(self.host, self.port, b"")

    def _launch(self, *, is_new: bool) -> None:
        """Run the server and wait until it is ready.

        :param is_new: Whether its folder is empty.
        """
        self._process = self._spawn(self._get_command())
        self._wait(self._process, self._answers)

    def _spawn(self, command: Sequence[str | Path]) -> Process:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self._get_environment(),
                # Control-C is for the tests, which then stop their servers.
                start_new_session=True,
            )

    def _wait(self, process: Process, answers: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.start_timeout
        # Asked second: what answered was another server if this one ended.
        while not answers() or process.poll() is not None:
            if process.poll() is not None:
                problem = f"ended with status {process.returncode}"
            elif time.monotonic() > deadline:
                problem = f"is not ready after {self.start_timeout:g} seconds"
            else:
                time.sleep(0.01)
                continue
            lines = (self.folder / "log").read_text(errors="replace").splitlines()
            raise ServerError("\n".join([f"{self.name} {problem}.", *lines[-25:]]))

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        # A paused process gets SIGTERM only when it goes on.
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(self.stop_timeout)
        except BaseException as error:
            process.kill()
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise ServerError(f"{self.name} did not end on SIGTERM.") from error
            raise

    def _discard(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder)
        _started.discard(self)


_started: t.Final[set[Server]] = set()


@atexit.register
def _stop_all() -> None:
    for server in _started.copy():
        # After a fork they are the parent's, which still needs them.
        if server._starter == os.getpid():
            with contextlib.suppress(ServerError):
                server.stop()
