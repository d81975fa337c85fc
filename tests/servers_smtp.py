"""The program that :class:`tests.servers.SmtpServer` runs in a process of its own."""

import asyncio
import functools
import itertools
import json
import signal
import ssl
import sys
import time
import typing as t
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class Keeper:
    """Writes every mail that the server takes to a file of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Take a mail."""
        mail = {
            "sender": envelope.mail_from,
            "receivers": envelope.rcpt_tos,
            "data": (envelope.original_content or b"").decode("latin-1"),
        }
        file = self.folder / f"{time.time_ns()}.json"
        unfinished = file.with_suffix(".part")
        unfinished.write_text(json.dumps(mail))
        unfinished.rename(file)
        return "250 OK"


class CountedSMTP(SMTP):
    """Tells of its connection, and of every verb in it before it answers."""

    def __init__(self, *args: t.Any, tell: Callable[[str], None], **options: t.Any):
        super().__init__(*args, **options)
        self._tell = tell
        self._smtp_methods = {
            verb: self._count(verb, method)
            for verb, method in self._smtp_methods.items()
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tell of the connection, but not again after STARTTLS."""
        if self.transport is None:
            self._tell("")
        super().connection_made(transport)

    def _count(
        self, verb: str, method: Callable[[str], Awaitable[None]]
    ) -> Callable[[str], Awaitable[None]]:
        @functools.wraps(method)
        async def counted(argument: str) -> None:
            self._tell(verb)
            await method(argument)

        return counted


def make_context(folder: Path) -> ssl.SSLContext:
    """Make the server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem")
    return context


async def serve(
    folder: Path,
    host: str,
    port: int,
    *,
    mode: str,
    user: str,
    password: str,
    size_limit: int,
    smtputf8: bool,
) -> None:
    """Serve until SIGTERM comes."""
    expected = LoginPassword(user.encode(), password.encode())

    def authenticate(
        server: SMTP, session: Session, envelope: Envelope, method: str, data: object
    ) -> AuthResult:
        # Not handled: aiosmtpd then answers 535 by itself.
        return AuthResult(success=data == expected, handled=False)

    loop = asyncio.get_running_loop()
    keeper = Keeper(folder / "mail")
    context = None if mode == "plain" else make_context(folder)
    numbers = itertools.count()

    def tell(number: int, verb: str) -> None:
        with (folder / "commands").open("a") as file:
            file.write(f"{number} {verb}\n")

    def answer() -> SMTP:
        return CountedSMTP(
            keeper,
            tell=functools.partial(tell, next(numbers)),
            data_size_limit=size_limit,
            enable_SMTPUTF8=smtputf8,
            hostname="localhost",
            loop=loop,
            tls_context=context if mode == "starttls" else None,
            require_starttls=mode == "starttls",
            authenticator=authenticate,
            auth_required=bool(user),
            auth_require_tls=mode == "starttls",
        )

    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    server = await loop.create_server(
        answer, host, port, ssl=context if mode == "tls" else None
    )
    await over.wait()
    server.close()


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    asyncio.run(serve(Path(options.pop("folder")), **options))
