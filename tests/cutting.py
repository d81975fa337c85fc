"""A go-between that breaks connections to a server where a test wants it."""

import contextlib
import socket
import threading
import typing as t
from types import TracebackType


class Cutter:
    """Passes bytes on to a server, and breaks connections off.

    :param port: Where the server is, on this machine.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        #: For each connection to come: 'up' or 'down', and the bytes that pass.
        self.cuts: list[tuple[t.Literal["up", "down"], int]] = []
        #: How many connections were broken off.
        self.done = 0
        self._open: list[socket.socket] = []

    def __enter__(self) -> t.Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Closing alone does not wake who waits in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for item in self._open:
            item.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open += [client, server]
                way, least = self.cuts.pop(0) if self.cuts else ("", -1)
                for name, source, sink in (
                    ("up", client, server),
                    ("down", server, client),
                ):
                    budget = least if name == way else -1
                    threading.Thread(
                        target=self._pass, args=(source, sink, budget), daemon=True
                    ).start()

    def _pass(self, source: socket.socket, sink: socket.socket, budget: int) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if 0 <= budget < len(data):
                    sink.sendall(data[:budget])
                    self.done += 1
                    break
                if budget > 0:
                    budget -= len(data)
                sink.sendall(data)
        for item in (source, sink):
            with contextlib.suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
