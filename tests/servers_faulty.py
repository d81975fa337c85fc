"""A mail server that fails as it is told, in a thread of the test's own process."""

import contextlib
import re
import socket
import socketserver
import threading
import typing as t
from collections.abc import Iterable, Sequence

from .servers_mail import Received
from .servers_process import HOST, find_port

Stage: t.TypeAlias = t.Literal[
    "connect", "ehlo", "mail", "rcpt", "data", "body", "final-dot", "idle", "reset"
]


class Fault(t.NamedTuple):
    """What goes wrong with a mail.

    ``body`` is after some of the mail came, ``final-dot`` after all of it, and
    ``idle`` before the mail: after the one before it, on the same connection.
    ``reset`` is when the client gives a mail up, which ends it. A mail whose final
    dot was followed by ``silent`` or ``drop`` was received.

    :param stage: When the server fails.
    :param action: Never to answer, to close the connection, or the code to
        answer with. After 421, ``connect`` and ``idle`` the connection is closed.
    :param receivers: Whom to refuse in the stage ``rcpt``, if not all.
    """

    stage: Stage
    action: t.Literal["silent", "drop"] | int
    receivers: Sequence[str] = ()


class FaultySmtpServer:
    """An SMTP server without TLS whose n-th mail meets the n-th fault, if any.

    A fault is over once it happened, so that another attempt at the same mail
    meets the next one. After the last fault all goes well.

    :param script: The faults; None is for a mail that goes well.
    :param extensions: What it says that it can do.
    :param login: What it answers to whoever logs in; without it, it hangs up.
    """

    def __init__(
        self,
        script: Iterable[Fault | None] = (),
        *,
        extensions: Sequence[str] = ("8BITMIME", "SMTPUTF8", "SIZE 32000000"),
        login: str = "235 2.7.0 welcome",
    ) -> None:
        self.host: str = HOST
        self.port = find_port()
        self.extensions = extensions
        self.login = login
        self.received: list[Received] = []
        self.connections = 0
        self.commands: list[str] = []
        self.lines: list[str] = []
        self._script = list(script)
        self._sockets: set[socket.socket] = set()
        self._over = threading.Event()
        self._listener: _Listener | None = None

    @property
    def url(self) -> str:
        """Where a client finds the server."""
        return f"smtp://{self.host}:{self.port}"

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._sockets)

    def __enter__(self) -> t.Self:
        self._listener = _Listener((self.host, self.port), _Talk)
        self._listener.faulty = self
        threading.Thread(target=self._listener.serve_forever, args=[0.01]).start()
        return self

    def __exit__(self, *raised: object) -> None:
        assert self._listener
        self._over.set()
        self._listener.shutdown()
        for connection in self._sockets.copy():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._listener.server_close()  # It waits for the threads.

    def _find_fault(self, stage: Stage) -> Fault | None:
        fault = self._script[0] if self._script else None
        return fault if fault is not None and fault.stage == stage else None


class _DroppedError(Exception): ...


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    faulty: FaultySmtpServer

    def server_bind(self) -> None:
        # Small, so that a large mail cannot be sent ahead.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        super().server_bind()

    def process_request(self, request: t.Any, client_address: t.Any) -> None:
        self.faulty.connections += 1
        self.faulty._sockets.add(request)
        super().process_request(request, client_address)


class _Talk(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Listener)
        self.faulty = self.server.faulty
        self.sender: str | None = None
        self.receivers: list[str] = []
        with contextlib.suppress(_DroppedError, OSError):
            self._talk()
        self._end_mail()
        self.faulty._sockets.discard(self.request)

    def _talk(self) -> None:
        self._strike("connect")
        self._say("220 localhost ESMTP")
        while line := self.rfile.readline():
            verb = line.split(maxsplit=1)[0].decode().upper() if line.strip() else ""
            self.faulty.commands.append(verb)
            self.faulty.lines.append(line.decode("utf-8", "replace").strip())
            found = re.search(rb"<(.*?)>", line)
            address = found[1].decode() if found else ""
            match verb:
                case "EHLO" if not self._strike("ehlo"):
                    *lines, last = ["localhost", *self.faulty.extensions]
                    self._say(*(f"250-{each}" for each in lines), f"250 {last}")
                case "AUTH" if not self.faulty.login:
                    raise _DroppedError
                case "AUTH":
                    self._say(self.faulty.login)
                case "MAIL":
                    self._end_mail()
                    if not self._strike("mail"):
                        self.sender, self.receivers = address, []
                        self._say("250 OK")
                case "RCPT" if self.sender is None:
                    self._say("503 MAIL comes first")
                case "RCPT" if not self._strike("rcpt", address):
                    self.receivers.append(address)
                    self._say("250 OK")
                case "DATA" if not self.receivers:
                    self._say("554 no valid receivers")
                case "DATA" if not self._strike("data"):
                    self._take()
                case "RSET":
                    self._end_mail()
                    if not self._strike("reset"):
                        self._say("250 OK")
                case "HELO" | "NOOP":
                    self._say("250 localhost")
                case "QUIT":
                    self._say("221 bye")
                    return
                case "EHLO" | "RCPT" | "DATA":  # A fault has answered.
                    pass
                case _:
                    self._say("502 unknown command")

    def _take(self) -> None:
        self._say("354 go on")
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                raise _DroppedError
            lines.append(line.removeprefix(b"."))
            self._strike("body")
        mail = Received(self.sender or "", self.receivers, b"".join(lines))
        fault = self.faulty._find_fault("final-dot")
        if fault is None or isinstance(fault.action, str):
            self.faulty.received.append(mail)
        if not self._strike("final-dot"):
            self._end_mail()
            self._say("250 taken")
            self._strike("idle")

    def _strike(self, stage: Stage, address: str = "") -> bool:
        """Do what the script says; tell whether that was an answer."""
        fault = self.faulty._find_fault(stage)
        if fault is None or (fault.receivers and address not in fault.receivers):
            return False
        closes = fault.action in ("silent", "drop", 421) or stage in ("connect", "idle")
        # A mail may have more receivers that are refused.
        if closes or stage != "rcpt":
            self._advance()
        if isinstance(fault.action, int):
            self._say(f"{fault.action} scripted fault")
        elif fault.action == "silent":
            self.faulty._over.wait()
        if closes:
            raise _DroppedError
        return True

    def _end_mail(self) -> None:
        if self.sender is not None:
            self._advance()

    def _advance(self) -> None:
        self.sender, self.receivers = None, []
        del self.faulty._script[:1]

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())
