"""The program that :class:`tests.servers.SmtpServer` runs in a process of its own."""

import asyncio
import json
import os
import signal
import ssl
import sys
import time
from pathlib import Path

import trustme
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


def make_context(folder: Path) -> ssl.SSLContext:
    """Make the server's side of TLS; a restart keeps the certificate."""
    certificate = folder / "certificate.pem"
    if not certificate.exists():
        authority = trustme.CA()
        authority.cert_pem.write_to_path(os.fspath(folder / "ca.pem"))
        issued = authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(os.fspath(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def serve(
    folder: Path, host: str, port: int, *, mode: str, user: str, password: str
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

    def answer() -> SMTP:
        return SMTP(
            keeper,
            enable_SMTPUTF8=True,
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
    folder, host, port, mode, user, password = sys.argv[1:]
    asyncio.run(
        serve(Path(folder), host, int(port), mode=mode, user=user, password=password)
    )
