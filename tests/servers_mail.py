"""The mail servers of :mod:`tests.servers`."""

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import sys
import time
import typing as t
from collections.abc import Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from .servers_certificates import Certificate, write_certificate
from .servers_process import Server, ServerError, exchange, find_absent
from .servers_process import join_credentials as join

SMTP_PROGRAM: t.Final = Path(__file__).with_name("servers_smtp.py")


class Received(t.NamedTuple):
    """A mail that a server took."""

    sender: str
    receivers: list[str]
    data: bytes

    @property
    def message(self) -> EmailMessage:
        """The mail itself, parsed."""
        message = message_from_bytes(self.data, policy=policy.default)
        assert isinstance(message, EmailMessage)
        return message


class SmtpServer(Server):
    """aiosmtpd, which keeps what it takes and counts what it is told.

    :param mode: Whether it speaks TLS never, after STARTTLS, or from the start.
    :param user: Name that clients must authenticate with, if any.
    :param password: Password that belongs to it.
    :param certificate: What is wrong with its certificate.
    :param size_limit: Largest mail in bytes that it takes, said as SIZE.
    :param smtputf8: Whether it takes addresses that are not ASCII.
    """

    name = "aiosmtpd"

    def __init__(
        self,
        *,
        mode: t.Literal["plain", "starttls", "tls"] = "starttls",
        user: str | None = None,
        password: str | None = None,
        certificate: Certificate = "good",
        size_limit: int = 32 * 1024 * 1024,
        smtputf8: bool = True,
    ) -> None:
        super().__init__()
        self.mode: t.Final = mode
        self.user = user
        self.password = password
        self.certificate: t.Final = certificate
        self.size_limit = size_limit
        self.smtputf8 = smtputf8

    @staticmethod
    def missing() -> str | None:
        return find_absent("aiosmtpd", "trustme", "cryptography")

    @property
    def url(self) -> str:
        scheme = "smtps" if self.mode == "tls" else "smtp"
        credentials = ""
        if self.user is not None:
            credentials = join(self.user, self.password or "")
        return f"{scheme}://{credentials}{self.host}:{self.port}"

    @property
    def ca_file(self) -> Path:
        """The certificate of who signed the server's, unless the mode is plain."""
        return self.folder / "ca.pem"

    @property
    def received(self) -> list[Received]:
        """What the server took, oldest first."""
        files = sorted((self.folder / "mail").glob("*.json"))
        return [_read_mail(file) for file in files]

    @property
    def commands(self) -> list[list[str]]:
        """The verbs that each connection sent since the start or ``clear()``.

        A connection that was there before is among them once it sends more.
        """
        heard: dict[str, list[str]] = {}
        for number, _, verb in self._read_commands():
            heard.setdefault(number, []).extend([verb] if verb else [])
        return list(heard.values())

    @property
    def connections(self) -> int:
        """How many connections were made since the start or ``clear()``.

        In the mode tls those whose handshake the server completed.
        """
        return sum(not verb for _, _, verb in self._read_commands())

    def clear(self) -> None:
        """Forget what the server took and counted."""
        (self.folder / "commands").write_text("")
        for file in (self.folder / "mail").glob("*.json"):
            file.unlink()

    def _read_commands(self) -> list[tuple[str, str, str]]:
        lines = (self.folder / "commands").read_text().splitlines()
        return [line.partition(" ") for line in lines]

    def _get_command(self) -> Sequence[str | Path]:
        options = {
            "folder": str(self.folder),
            "host": self.host,
            "port": self.port,
            "mode": self.mode,
            "user": self.user or "",
            "password": self.password or "",
            "size_limit": self.size_limit,
            "smtputf8": self.smtputf8,
        }
        return [sys.executable, "-P", SMTP_PROGRAM, json.dumps(options)]

    def _answers(self) -> bool:
        greeting = [] if self.mode == "tls" else [b"220 "]
        return exchange(self.host, self.port, b"", *greeting)

    def _launch(self, *, is_new: bool) -> None:
        if is_new and self.mode != "plain":
            write_certificate(self.folder, self.certificate)
        super()._launch(is_new=is_new)
        # Whoever asked whether it is ready is no client.
        (self.folder / "commands").write_text("")


def _read_mail(file: Path) -> Received:
    mail = json.loads(file.read_text())
    return Received(mail["sender"], mail["receivers"], mail["data"].encode("latin-1"))


# Of Postfix: its processes, as in its own example, but none that sends mail away.
POSTFIX_PROCESSES: t.Final = """\
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""

# Its folders, which nobody but it may enter.
POSTFIX_FOLDERS: t.Final = (
    "data",
    *(
        f"queue/{name}"
        for name in (
            *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold"),
            *("incoming", "maildrop", "private", "public", "saved", "trace"),
        )
    ),
)

# What Postfix writes before the mail that it was given.
POSTFIX_HEADERS: t.Final = re.compile(
    rb"Return-Path: <(?P<sender>.*)>\n"
    rb"(?:X-Original-To: (?P<written>.*)\n)?"
    rb"Delivered-To: (?P<receiver>.*)\n"
    rb"Received: .*\n(?:[ \t].*\n)*"
)


def _has_members(group: int) -> bool:
    """Tell whether a process of a group lives, zombies aside."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its = file.read_text().rpartition(")")[2].split()[:3]
            if int(its) == group and state not in "ZX":
                return True
    return False


class PostfixServer(Server):
    """Debian's Postfix, which offers STARTTLS and sends no mail away.

    It takes mail for anybody at ``domain`` and refuses other receivers with 554.

    :param size_limit: Largest mail in bytes that it takes, said as SIZE.
    """

    name = "postfix"
    domain: t.Final = "y.test"
    programs: t.Final = Path("/usr/lib/postfix/sbin")

    def __init__(self, *, size_limit: int = 10_240_000) -> None:
        super().__init__()
        self.size_limit = size_limit
        self._group = 0

    @staticmethod
    def missing() -> str | None:
        if not (PostfixServer.programs / "master").exists():
            return "postfix is not installed: apt-get install postfix"
        return "postfix can be started by root only" if os.geteuid() else None

    @property
    def url(self) -> str:
        return f"smtp://{self.host}:{self.port}"

    @property
    def ca_file(self) -> Path:
        """The certificate of who signed the server's."""
        return self.folder / "ca.pem"

    @property
    def received(self) -> list[Received]:
        """What the server delivered, oldest first: one for each receiver.

        Waits until nothing it took is left to deliver. The data is as it was
        sent: without the headers that Postfix adds, and with CRLF.

        :raises ServerError: If something is left to deliver after 10 seconds.
        """
        deadline = time.monotonic() + 10
        while self._has_queue():
            if time.monotonic() > deadline:
                raise ServerError("postfix does not deliver what it took.")
            time.sleep(0.01)
        files = (self.folder / "mail/box/new").glob("*")
        ordered = sorted(files, key=lambda file: file.stat().st_mtime_ns)
        return [_read_delivered(file) for file in ordered]

    def clear(self) -> None:
        """Forget what the server delivered."""
        for file in (self.folder / "mail/box/new").glob("*"):
            file.unlink()

    def _has_queue(self) -> bool:
        # In the order in which a mail goes through them.
        names = ("incoming", "active", "deferred")
        folders = (self.folder / "queue" / name for name in names)
        return any(file.is_file() for folder in folders for file in folder.rglob("*"))

    def _get_command(self) -> Sequence[str | Path]:
        return [self.programs / "master", "-s", "-c", self.folder / "etc"]

    def _answers(self) -> bool:
        return exchange(self.host, self.port, b"", b"220 ")

    def _launch(self, *, is_new: bool) -> None:
        if is_new:
            self._prepare()
        # Of one that was killed, some processes may have port and locks for a moment.
        deadline = time.monotonic() + 10
        while self._group and _has_members(self._group):
            if time.monotonic() > deadline:
                raise ServerError("postfix was ended, and not all its processes.")
            time.sleep(0.01)
        super()._launch(is_new=is_new)
        self._group = self.pid

    def _prepare(self) -> None:
        # Its processes run as three users, who must get at their files.
        self.folder.chmod(0o755)
        write_certificate(self.folder, "good")
        for name in ("etc", "queue", "mail"):
            (self.folder / name).mkdir()
            (self.folder / name).chmod(0o755)
        shutil.chown(self.folder / "mail", "nobody")
        (self.folder / "etc/main.cf").write_text(self._get_settings())
        (self.folder / "etc/master.cf").write_text(
            f"{self.host}:{self.port} inet n - n - - smtpd\n{POSTFIX_PROCESSES}"
        )
        # As `postfix check` would do it, but that takes two seconds.
        for name in POSTFIX_FOLDERS:
            folder = self.folder / name
            folder.mkdir(mode=0o700)
            shutil.chown(folder, "postfix")
        shutil.chown(self.folder / "queue/public", group="postdrop")
        (self.folder / "queue/public").chmod(0o2710)
        (self.folder / "queue/pid").mkdir()

    def _get_settings(self) -> str:
        nobody = pwd.getpwnam("nobody")
        return f"""\
compatibility_level = 3.6
queue_directory = {self.folder}/queue
data_directory = {self.folder}/data
command_directory = /usr/sbin
daemon_directory = {self.programs}
mail_owner = postfix
setgid_group = postdrop
maillog_file = /dev/stdout
myhostname = mx.test
inet_interfaces = {self.host}
inet_protocols = ipv4
mynetworks = {self.host}
mydestination =
local_recipient_maps =
local_header_rewrite_clients =
alias_maps =
alias_database =
relay_domains =
default_transport = discard
virtual_mailbox_domains = {self.domain}
virtual_mailbox_base = {self.folder}/mail
virtual_mailbox_maps = static:box/
virtual_mailbox_limit = 0
virtual_uid_maps = static:{nobody.pw_uid}
virtual_gid_maps = static:{nobody.pw_gid}
message_size_limit = {self.size_limit}
smtputf8_enable = yes
smtpd_peername_lookup = no
smtpd_error_sleep_time = 0
smtpd_recipient_restrictions = reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_chain_files = {self.folder}/certificate.pem
"""

    def _signal(self, number: signal.Signals) -> None:
        os.killpg(self.pid, number)

    def _end(self) -> None:
        process = self._process
        if process is None:
            return
        # Paused processes get the master's SIGTERM only when they go on.
        self._signal(signal.SIGCONT)
        super()._end()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def _discard(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGKILL)
        super()._discard()


def _read_delivered(file: Path) -> Received:
    data = file.read_bytes()
    headers = POSTFIX_HEADERS.match(data)
    assert headers is not None
    receiver = headers["written"] or headers["receiver"]
    body = data[headers.end() :].replace(b"\n", b"\r\n")
    return Received(headers["sender"].decode(), [receiver.decode()], body)
