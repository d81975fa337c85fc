"""Mail that needs no server: to the terminal, a folder, or the process's memory."""

import contextlib
import email.policy
import os
import pathlib
import sys
import threading
import time
import typing as t
import urllib.parse
import uuid
from email.message import EmailMessage
from email.parser import Parser

from quorum.errors import ConfigError, Problem, ServiceUnavailableError
from quorum.mail import MailSettings
from quorum.messages import Envelope


class ConsoleMailer:
    """Prints each message to the standard output.

    :param settings: Not needed.
    """

    address: str = "console:"

    def __init__(self, settings: MailSettings) -> None:
        self._lock = threading.Lock()

    def ping(self) -> None:
        """Do nothing: a terminal is always there."""

    def close(self) -> None:
        """Do nothing."""

    def send(self, envelope: Envelope) -> None:
        """Print a message.

        :param envelope: The message.
        """
        text = envelope.content.decode().replace("\r\n", "\n")
        to = ", ".join(envelope.receivers)
        line = "-" * 72
        with self._lock:
            sys.stdout.write(f"{line}\nMail to {to}\n{line}\n{text}{line}\n")
            sys.stdout.flush()


class FolderMailer:
    """Writes each message to a file of its own, which ends in ``.eml``.

    :param settings: Where the folder is; it is made when it is not there.
    """

    def __init__(self, settings: MailSettings) -> None:
        path = urllib.parse.unquote(settings.location.parts.path)
        self.address: str = f"file:{path}"
        self._folder = pathlib.Path(path)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fault = f"the folder {path!r} cannot be made: {error.strerror}."
            raise ConfigError(Problem("SMTP_URL", "mail", fault)) from error

    def ping(self) -> None:
        """Look whether the folder can be written to.

        :raises ServiceUnavailableError: If not.
        """
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise ServiceUnavailableError(
                "mail", self.address, 0, "it is no folder that can be written to"
            )

    def close(self) -> None:
        """Do nothing: no file is kept open."""

    def send(self, envelope: Envelope) -> None:
        """Write a message; who looks into the folder sees whole ones only.

        :param envelope: The message.
        :raises ServiceUnavailableError: If it cannot be written.
        """
        name = f"{time.time_ns()}-{uuid.uuid4().hex}.eml"
        unfinished = self._folder / f".{name}"
        try:
            unfinished.write_bytes(envelope.content)
            unfinished.replace(self._folder / name)
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            reason = f"the message cannot be written: {error.strerror}"
            raise ServiceUnavailableError("mail", self.address, 0, reason) from error


class Delivered(EmailMessage):
    """A message of the outbox, as a receiver's mail program would read it."""

    #: Whom the mail server would have been told it is from.
    envelope_from: str = ""
    #: Who would have got it, those in ``bcc`` too.
    envelope_to: tuple[str, ...] = ()


class MemoryMailer:
    """Keeps each message in the process, until the app is unloaded.

    :param settings: Not needed.
    """

    address: str = "memory:"

    def __init__(self, settings: MailSettings) -> None:
        self.outbox: list[Delivered] = []

    def ping(self) -> None:
        """Do nothing: memory is always there."""

    def close(self) -> None:
        """Do nothing: the messages go with the engine."""

    def send(self, envelope: Envelope) -> None:
        """Keep a message.

        :param envelope: The message.
        """
        parser = Parser(Delivered, policy=email.policy.default)
        text = envelope.content.decode().replace("\r\n", "\n")
        message = t.cast(Delivered, parser.parsestr(text))
        message.envelope_from = envelope.sender
        message.envelope_to = envelope.receivers
        self.outbox.append(message)
