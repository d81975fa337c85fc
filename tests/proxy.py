"""A way to a server that can be cut and healed."""

import contextlib
import selectors
import socket
import threading
import typing as t

from tests.servers_process import HOST, find_port


class Proxy:
    """Passes on what clients of its port and a server say, until it is cut.

    :param port: The server's port.
    """

    def __init__(self, port: int) -> None:
        self.port = find_port()
        self._target = port
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._unlucky = b""
        self._cutting = False
        #: How many pieces were lost.
        self.lost = 0

    def lose(self, text: bytes, *, cut: bool = True) -> None:
        """Lose the next piece, of either side, that has such text in it.

        :param text: The text.
        :param cut: Whether its connection is lost with it, or hangs from then on.
        """
        self._unlucky, self._cutting = text, cut

    def heal(self) -> None:
        """Let clients connect."""
        self._listener = socket.create_server((HOST, self.port))
        threading.Thread(
            target=self._accept, args=(self._listener,), daemon=True
        ).start()

    def cut(self) -> None:
        """Drop all connections, and refuse new ones."""
        listener, self._listener = self._listener, None
        for item in (*self._open, *([listener] if listener else [])):
            with contextlib.suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
            item.close()

    def __enter__(self) -> t.Self:
        self.heal()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                pair = (client, socket.create_connection((HOST, self._target)))
                self._open.update(pair)
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        failures = contextlib.suppress(OSError, ValueError)
        with failures, selectors.DefaultSelector() as ready:
            for item in other:
                ready.register(item, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    side = t.cast(socket.socket, key.fileobj)
                    data = side.recv(65536)
                    if not data:
                        raise OSError
                    if self._unlucky and self._unlucky in data:
                        self._unlucky = b""
                        self.lost += 1
                        if self._cutting:
                            raise OSError
                    else:
                        other[side].sendall(data)
        for item in other:
            self._open.discard(item)
            item.close()
