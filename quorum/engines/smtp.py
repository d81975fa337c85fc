"""SMTP by the standard library's client, over connections that are kept."""

import contextlib
import re
import smtplib
import ssl
import sys
import threading
import time
import typing as t
from collections.abc import Iterator

from quorum.errors import (
    ConfigError,
    MailUncertainError,
    Problem,
    ReceiversRefusedError,
    ServiceError,
    ServiceRefusedError,
    ServiceUnavailableError,
    SettingMissingError,
)
from quorum.mail import MailSettings
from quorum.messages import Envelope

#: Seconds for which a connection is kept open without being used.
IDLE: t.Final = 30.0

#: Seconds to wait for the answer to a goodbye, which nobody needs.
_GOODBYE: t.Final = 1.0

#: How many times SMTP_TIMEOUT the answer to a complete message is waited for;
#: RFC 5321, section 4.5.3.2.6, has ten minutes.
_ANSWER: t.Final = 6

#: Bytes that are sent at once.
_PIECE: t.Final = 65536

Place: t.TypeAlias = tuple[str, str, int]


class _LostError(Exception):
    """The connection was lost before the message was complete."""


class SMTPServer:
    """A mail server; each thread that is sending has a connection to itself.

    :param settings: Where the server is, and how to talk to it.
    """

    def __init__(self, settings: MailSettings) -> None:
        self._settings = settings
        self._server = server = settings.server
        self._place: Place = ("mail", server.host, server.port)
        self.address: str = f"{server.host}:{server.port}"
        self._tls = _make_context(settings.ca_file)
        self._name: str | None = None
        self._lock = threading.Lock()
        self._closed = False
        #: Connections that nobody uses, with the time of their last use, oldest first.
        self._idle: list[tuple[float, smtplib.SMTP]] = []
        self._sweeper: threading.Timer | None = None

    def ping(self) -> None:
        """Connect, log in when there is a user, and ask for an answer.

        :raises ServiceRefusedError: If the server's certificate is no good, or it does
            not take the user and password, or would have them sent unencrypted.
        :raises ServiceUnavailableError: If it cannot be reached.
        """
        with self._mapped():
            connection = self._connect()
            try:
                self._expect(connection.noop())
            finally:
                _quit(connection)

    def close(self) -> None:
        """Say goodbye on every connection, and keep none from now on."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            sweeper = self._sweeper
        if sweeper is not None:
            sweeper.cancel()
            sweeper.join()
        for _, connection in idle:
            _quit(connection)

    def send(self, envelope: Envelope) -> None:
        """Hand a message over.

        :param envelope: The message.
        :raises ReceiversRefusedError: If the server refused receivers.
        :raises ServiceRefusedError: If it refused the message, or the connection.
        :raises ServiceUnavailableError: If it cannot be reached or has no time.
        :raises MailUncertainError: If it may have taken the message or not.
        """
        with self._mapped():
            try:
                self._try(envelope, self._take() or self._connect())
            except _LostError:
                # Nothing was complete, so that nothing can arrive twice.
                self._try(envelope, self._connect())

    def _try(self, envelope: Envelope, connection: smtplib.SMTP) -> None:
        """Send by one connection, and keep it if it is still good."""
        try:
            refused = self._talk(envelope, connection)
        except (ServiceRefusedError, ServiceUnavailableError):
            self._reset(connection)
            raise
        except BaseException:
            connection.close()
            raise
        if len(refused) == len(envelope.receivers):
            self._reset(connection)
        else:
            self._keep(connection)
        if refused:
            accepted = tuple(who for who in envelope.receivers if who not in refused)
            raise ReceiversRefusedError(*self._place, refused, accepted)

    def _talk(self, envelope: Envelope, server: smtplib.SMTP) -> dict[str, str]:
        """Go through the transaction (RFC 5321, section 3.3): who was refused?"""
        outer = sys.exception()
        with _before_the_end():
            options = self._find_options(envelope, server)
            self._expect(server.mail(envelope.sender, options))
            refused = {}
            for who in envelope.receivers:
                code, answer = server.rcpt(who)
                if code == 421:
                    self._expect((code, answer))
                if not 200 <= code < 300:
                    refused[who] = _read_answer(code, answer)
            if len(refused) == len(envelope.receivers):
                return refused
            self._expect(server.docmd("DATA"), 354)
            # A line with nothing but a dot ends the message (section 4.5.2); the
            # first line is a header.
            content = envelope.content.replace(b"\r\n.", b"\r\n..") + b".\r\n"
            # Each piece has the whole time limit, as a slow line may need it.
            for start in range(0, len(content), _PIECE):
                server.send(content[start : start + _PIECE])
        try:
            # To give up too early is what may deliver a mail twice, or not at all.
            _set_timeout(server, _ANSWER * self._settings.timeout)
            code, answer = server.getreply()
            _set_timeout(server, self._settings.timeout)
        except OSError as error:
            reason = f"no answer came to the complete message: {_explain(error, outer)}"
            raise MailUncertainError(*self._place, reason) from error
        if not (200 <= code < 300 or 400 <= code < 600):
            reason = f"its answer means nothing: {_read_answer(code, answer)}"
            raise MailUncertainError(*self._place, reason)
        self._expect((code, answer))
        return refused

    def _find_options(self, envelope: Envelope, server: smtplib.SMTP) -> list[str]:
        options = []
        if server.has_extn("size"):
            size = len(envelope.content)
            most = server.esmtp_features["size"]
            if most.isdecimal() and 0 < int(most) < size:
                reason = f"it takes {most} bytes, and the message has {size}"
                raise ServiceRefusedError(*self._place, reason)
            options.append(f"SIZE={size}")
        if envelope.international:
            if not server.has_extn("smtputf8"):
                reason = "it takes no addresses beyond ASCII (it offers no SMTPUTF8)"
                raise ServiceRefusedError(*self._place, reason)
            options += ["SMTPUTF8", "BODY=8BITMIME"]
        return options

    def _expect(self, reply: tuple[int, bytes], wanted: int = 250) -> None:
        """Raise the error that an answer means, unless it is the wanted one."""
        code, answer = reply
        if code // 100 == wanted // 100:
            return
        if code == 421:  # it closes the connection, for instance as it was idle
            raise _LostError(_read_answer(code, answer))
        kind = ServiceUnavailableError if 400 <= code < 500 else ServiceRefusedError
        raise kind(*self._place, f"it answered {_read_answer(code, answer)}")

    def _connect(self) -> smtplib.SMTP:
        settings, server = self._settings, self._server
        where: dict[str, t.Any] = {
            "host": server.host,
            "port": server.port,
            "timeout": settings.timeout,
            # To find it out may take seconds, which no time limit bounds.
            "local_hostname": self._name,
        }
        connection: smtplib.SMTP
        if server.implicit_tls:
            connection = smtplib.SMTP_SSL(**where, context=self._tls)
        else:
            connection = smtplib.SMTP(**where)
        self._name = connection.local_hostname
        try:
            connection.ehlo_or_helo_if_needed()
            encrypted = server.implicit_tls or self._start_tls(connection)
            if server.user is not None:
                self._log_in(connection, server.user, encrypted)
        except BaseException:
            connection.close()
            raise
        return connection

    def _start_tls(self, connection: smtplib.SMTP) -> bool:
        """Encrypt a connection, when that is wanted and can be."""
        wanted = self._settings.starttls
        if wanted is False or not (wanted or connection.has_extn("starttls")):
            return False
        if not connection.has_extn("starttls"):
            reason = "it offers no STARTTLS, which SMTP_STARTTLS asks for"
            raise ServiceRefusedError(*self._place, reason)
        connection.starttls(context=self._tls)
        connection.ehlo()
        return True

    def _log_in(self, connection: smtplib.SMTP, user: str, encrypted: bool) -> None:
        if not encrypted and not self._settings.insecure_auth:
            reason = (
                "the connection is not encrypted, so the password was not sent. "
                "Use smtps: or STARTTLS"
            )
            raise ServiceRefusedError(*self._place, reason)
        password = self._server.password
        if password is None:
            hint = f"It belongs to the user {user!r}."
            raise SettingMissingError("SMTP_PASSWORD", hint)
        if not f"{user}{password}".isascii():
            fault = "user and password have to be ASCII, as smtplib sends nothing else."
            raise ConfigError(Problem("SMTP_PASSWORD", "mail", fault))
        try:
            connection.login(user, password)
        except smtplib.SMTPAuthenticationError as error:
            # The rest of the answer may quote what the server was sent.
            answer = " ".join(
                _read_answer(error.smtp_code, error.smtp_error).split()[:2]
            )
            if not re.fullmatch(r"\d{3}( \d\.\d{1,3}\.\d{1,3})?", answer):
                answer = answer[:3]
            if 400 <= error.smtp_code < 500:
                reason = f"it cannot log anybody in: {answer}"
                raise ServiceUnavailableError(*self._place, reason) from None
            reason = f"it did not take the user and the password: {answer}"
        except smtplib.SMTPServerDisconnected:
            raise
        except smtplib.SMTPException:
            reason = "it offers no login that Python knows"
        else:
            return
        raise ServiceRefusedError(*self._place, reason)

    def _reset(self, connection: smtplib.SMTP) -> None:
        """Keep a connection after a refusal, if it can go on."""
        try:
            code, _ = connection.rset()
        except OSError:
            code = 0
        if code == 250:
            self._keep(connection)
        else:
            connection.close()

    def _take(self) -> smtplib.SMTP | None:
        """Return the connection that was used last, unless it is too old."""
        with self._lock:
            if not self._idle:
                return None
            since, connection = self._idle.pop()
        if time.monotonic() - since < IDLE:
            return connection
        connection.close()
        return None

    def _keep(self, connection: smtplib.SMTP) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append((time.monotonic(), connection))
                if self._sweeper is None:
                    self._sweep_later(IDLE)
                if self._sweeper is not None:
                    return
                self._idle.pop()
        _quit(connection)

    def _sweep_later(self, seconds: float) -> None:
        self._sweeper = threading.Timer(seconds, self._sweep)
        self._sweeper.daemon = True
        try:
            self._sweeper.start()
        except RuntimeError:  # too many threads: what was sent is sent nevertheless
            self._sweeper = None

    def _sweep(self) -> None:
        """Close what nobody has used for a while; look again if some are left."""
        oldest = time.monotonic() - IDLE
        with self._lock:
            old = [c for since, c in self._idle if since <= oldest]
            self._idle = [kept for kept in self._idle if kept[0] > oldest]
        for connection in old:
            _quit(connection)
        with self._lock:
            self._sweeper = None
            if self._idle:  # none after close()
                since = self._idle[0][0]
                self._sweep_later(max(0.0, since + IDLE - time.monotonic()))

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        """Turn the errors of the standard library into ours."""
        outer = sys.exception()
        try:
            yield
        except ServiceError:
            raise  # which may be an OSError too
        except ssl.SSLCertVerificationError as error:
            reason = f"its certificate is not valid: {error.verify_message}"
            raise ServiceRefusedError(*self._place, reason) from error
        except ssl.SSLEOFError as error:
            reason = "the connection was closed while TLS began"
            raise ServiceUnavailableError(*self._place, reason) from error
        except ssl.SSLError as error:
            reason = f"TLS cannot be spoken with it: {error.reason or error}"
            raise ServiceRefusedError(*self._place, reason) from error
        except smtplib.SMTPResponseException as error:
            answer = _read_answer(error.smtp_code, error.smtp_error)
            reason = f"it answered {answer}"
            if error.smtp_code >= 500:
                raise ServiceRefusedError(*self._place, reason) from error
            raise ServiceUnavailableError(*self._place, reason) from error
        except (_LostError, OSError) as error:
            raise ServiceUnavailableError(
                *self._place, _explain(error, outer)
            ) from error


@contextlib.contextmanager
def _before_the_end() -> Iterator[None]:
    """Mark a loss of the connection as one that lost nothing else."""
    outer = sys.exception()
    try:
        yield
    except ServiceError:
        raise
    except OSError as error:
        if isinstance(_find_cause(error, outer), TimeoutError):
            raise  # a silent server would be waited for twice
        raise _LostError("the connection was lost") from error


def _make_context(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        unread = not isinstance(error, ssl.SSLError)
        reason = error.strerror if unread else "it holds no certificates"
        fault = f"{ca_file!r} cannot be used: {reason}."
        raise ConfigError(Problem("SMTP_CA_FILE", "mail", fault)) from error


def _find_cause(error: Exception, outer: BaseException | None) -> BaseException:
    """Return the error that smtplib has hidden behind one of its own.

    That is not what the caller was handling before, which is the outer one.
    """
    hidden = error.__context__
    return hidden if isinstance(hidden, OSError) and hidden is not outer else error


def _explain(error: Exception, outer: BaseException | None) -> str:
    """Return what happened."""
    cause = _find_cause(error, outer)
    if isinstance(cause, TimeoutError):
        return "it did not answer in time"
    return str(cause) or type(cause).__name__


def _set_timeout(server: smtplib.SMTP, seconds: float) -> None:
    if server.sock is not None:
        server.sock.settimeout(seconds)


def _quit(connection: smtplib.SMTP) -> None:
    with contextlib.suppress(OSError):
        _set_timeout(connection, _GOODBYE)
        connection.quit()
    connection.close()


def _read_answer(code: int, answer: bytes | str) -> str:
    """Return an answer as text that is fit for a log."""
    text = answer if isinstance(answer, str) else answer.decode("utf-8", "replace")
    words = "".join(c if c.isprintable() else " " for c in text).split()
    return f"{code} {' '.join(words)}".strip()[:500]
