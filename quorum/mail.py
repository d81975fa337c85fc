"""Outgoing mail: composed from text and templates, handed over to a mail server."""

import contextlib
import inspect
import logging
import typing as t
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from email.message import EmailMessage
from typing import TYPE_CHECKING

import flask
from jinja2 import TemplateNotFound

from quorum import parsers, tasks
from quorum.config import Found, ServiceSettings, Variable, variable
from quorum.errors import (
    MessageError,
    Problem,
    QuorumError,
    ReceiversRefusedError,
    SettingMissingError,
)
from quorum.service import Engine, Service
from quorum.state import State, app_context, get_handle, get_state

if TYPE_CHECKING:  # what it imports is slow, and many apps send no mail
    from quorum.messages import Attachment, Envelope, Mailbox

P = t.ParamSpec("P")
R = t.TypeVar("R")

_LOGGER: t.Final = logging.getLogger("quorum.mail")

#: Ports of SMTP, and of SMTP over TLS (RFC 8314).
_PORT: t.Final = 25
_TLS_PORT: t.Final = 465

#: How often a mail in the background is tried again.
_RETRIES: t.Final = 8

#: One address, or several.
Mailboxes: t.TypeAlias = "Mailbox | Iterable[Mailbox]"


def _mail_url() -> parsers.Parser[parsers.URL]:
    """Return the parser of SMTP_URL: a URL with nothing in it that would not count."""
    plain = parsers.url("smtp", "smtps", "console", "file", "memory")

    def check(value: object) -> parsers.URL:
        url = plain(value)
        parts = url.parts
        server = url.scheme in ("smtp", "smtps")
        if (
            server != bool(parts.hostname)
            or (url.scheme == "file") != bool(parts.path.strip("/"))
            or parts.query
            or parts.fragment
        ):
            raise ValueError
        if server:
            parsers.host(parts.hostname)
        _ = _decode(parts.username), _decode(parts.password)
        return url

    return parsers.Parser(plain.type_name, plain.expects, check)


class Server(t.NamedTuple):
    """A mail server, and who logs in there."""

    host: str
    port: int
    #: Whether TLS is spoken from the start (RFC 8314).
    implicit_tls: bool
    user: str | None
    password: str | None

    def __repr__(self) -> str:
        return f"<mail server {self.host}:{self.port}>"


@parsers.parser("string", "an address, as in 'Shop <shop@example.org>'")
def address(value: object) -> str:
    """Parse an address, with or without a name."""
    from quorum import messages

    text = parsers.text(value)
    try:
        messages.parse_mailbox("SMTP_SENDER", text)
    except MessageError:
        raise ValueError from None
    return text


class MailSettings(ServiceSettings):
    """Where outgoing mail goes, and whom it is from."""

    location: Variable[parsers.URL] = variable(
        "SMTP_URL",
        _mail_url(),
        secret=True,
        since="0.2.0",
        help="URL of the server that relays outgoing mail.",
    )
    host: Variable[str] = variable(
        "SMTP_HOST",
        parsers.host_port,
        since="0.1.0",
        help="Host name or IP address of the server that relays outgoing mail, "
        "with an optional port.",
    )
    user: Variable[str | None] = variable(
        "SMTP_USER",
        str,
        default=None,
        since="0.1.0",
        help="User name to log in to the mail server with.",
    )
    password: Variable[str | None] = variable(
        "SMTP_PASSWORD",
        str,
        default=None,
        secret=True,
        since="0.1.0",
        help="Password to log in to the mail server with.",
    )
    sender: Variable[str | None] = variable(
        "SMTP_SENDER",
        address,
        default=None,
        since="0.2.0",
        help="Whom mail is from when send_mail() is not told.",
    )
    starttls: Variable[bool | None] = variable(
        "SMTP_STARTTLS",
        bool,
        default=None,
        since="0.2.0",
        help="Whether the connection is encrypted by STARTTLS.",
    )
    ca_file: Variable[str | None] = variable(
        "SMTP_CA_FILE",
        str,
        default=None,
        since="0.2.0",
        help="File of the certificate authorities that the mail server's certificate "
        "may be signed by.",
    )
    insecure_auth: Variable[bool] = variable(
        "SMTP_INSECURE_AUTH",
        bool,
        default=False,
        since="0.2.0",
        help="Whether user and password may be sent unencrypted.",
    )
    limit: Variable[int] = variable(
        "SMTP_LIMIT",
        int,
        default=10_000_000,
        since="0.2.0",
        help="Size in bytes, as sent, that a mail must not exceed.",
    )
    timeout: Variable[float] = variable(
        "SMTP_TIMEOUT",
        parsers.seconds,
        default=10.0,
        since="0.2.0",
        help="Seconds to wait for the mail server.",
    )

    @classmethod
    def _settle(cls, found: dict[str, Found]) -> Iterable[Problem]:
        """Have the higher source decide between SMTP_URL and the seed's variables.

        :param found: What the sources have.
        :returns: What is wrong: one source with both.
        """
        others = (cls.host, cls.user, cls.password)
        url = found[cls.location.name]
        if not url.given:
            return ()
        if found[cls.host.name].rank < url.rank:
            found[cls.location.name] = Found(None, None, "not set")
            return ()
        names = [other.name for other in others if found[other.name].rank <= url.rank]
        if names:
            fault = f"{' and '.join(names)} would not count beside it."
            fault += " Keep one or the other."
            return (Problem(cls.location.name, url.source, fault),)
        found[cls.host.name] = Found(None, None, "not set")
        found[cls.user.name] = found[cls.password.name] = _UNSET
        return ()

    @property
    def configured(self) -> bool:
        """Whether one of SMTP_URL and SMTP_HOST has a value."""
        return super().configured or self.has(type(self).host)

    @property
    def scheme(self) -> str:
        """What picks the engine; a host is always one that speaks SMTP."""
        if self.has(type(self).host):
            return "smtp"
        if not self.configured:
            hint = f"{type(self).location.hint} SMTP_HOST will do as well."
            raise SettingMissingError(type(self).location.name, hint)
        return super().scheme

    @property
    def server(self) -> Server:
        """The mail server that SMTP_URL or SMTP_HOST names."""
        if self.has(type(self).host):
            host, port = parsers.split_port(self.host)
            tls = port == _TLS_PORT
            return Server(host, port or _PORT, tls, self.user, self.password)
        parts = self.location.parts
        tls = parts.scheme == "smtps"
        port = parts.port or (_TLS_PORT if tls else _PORT)
        return Server(
            parts.hostname or "",
            port,
            tls,
            _decode(parts.username),
            _decode(parts.password),
        )


_UNSET: t.Final = Found(None, None, "default")


def _decode(part: str | None) -> str | None:
    return urllib.parse.unquote(part, errors="strict") if part else None


class Mailer(Engine, t.Protocol):
    """What an engine of mail offers."""

    def send(self, envelope: "Envelope") -> None:
        """Hand a message over, or raise a ``ServiceError``."""


SERVICE: t.Final[Service[MailSettings, Mailer]] = Service(
    "mail",
    MailSettings,
    {
        "smtp": "quorum.engines.smtp:SMTPServer",
        "smtps": "quorum.engines.smtp:SMTPServer",
        "console": "quorum.engines.mailers:ConsoleMailer",
        "file": "quorum.engines.mailers:FolderMailer",
        "memory": "quorum.engines.mailers:MemoryMailer",
    },
)


def send_mail(
    app: flask.Flask | None = None,
    subject: str = "",
    sender: "Mailbox | None" = None,
    receivers: Mailboxes = (),
    data: str | None = None,
    plain: str | None = None,
    rich: str | None = None,
    context: Mapping[str, t.Any] | None = None,
    *,
    cc: Mailboxes = (),
    bcc: Mailboxes = (),
    reply_to: Mailboxes = (),
    attachments: "Iterable[Attachment]" = (),
    headers: Mapping[str, str] | None = None,
) -> EmailMessage:
    """Send a mail, and return when the server has taken it.

    The plain text and the HTML that are given go out as alternatives of one message.
    What cannot be sent is found before anything connects. A connection is kept for
    the next mail, for up to 30 seconds; one that was lost before the message was
    complete is replaced, once, without anybody noticing.

    :param app: The app whose templates and variables count; by default the app in use.
    :param subject: What the mail is about. Spam filters think little of mail without.
    :param sender: Whom it is from, as in ``'Shop <shop@example.org>'``; by default
        SMTP_SENDER, else SMTP_USER.
    :param receivers: Whom it is to: one address or several, each with or without a
        name.
    :param data: Content of each part whose template is not given or cannot be
        rendered, which is logged then; it is escaped in the HTML part.
    :param plain: Path of the plain text part's template, from the templates folder.
    :param rich: Path of the HTML part's template, from the templates folder.
    :param context: Variables of both templates.
    :param cc: Who else gets it, for everybody to see.
    :param bcc: Who else gets it, without a trace in the message.
    :param reply_to: Where answers go, if not to the sender.
    :param attachments: Files that go with it.
    :param headers: Further headers by their names.
    :returns: The message that was sent.
    :raises MessageError: If it cannot be sent as it is. Nothing was sent.
    :raises ReceiversRefusedError: If the server refused receivers; the error names
        them, and all others have the mail.
    :raises ServiceRefusedError: If the server refused the mail, the login, or to
        encrypt, or if its certificate is not valid. Nothing was sent.
    :raises ServiceUnavailableError: If the server cannot be reached or has no time.
        Nothing was sent, and trying again may help.
    :raises MailUncertainError: If the connection was lost between the end of the
        message and the server's answer. It may have been sent.
    :raises SettingMissingError: If neither SMTP_URL nor SMTP_HOST has a value.
    :raises ConfigError: If SMTP_CA_FILE or the folder of ``file:`` is no good.
    :raises NotLoadedError: If the app, or no app at all, is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    state, message, envelope = _prepare(**locals())
    state.handle(SERVICE).engine.send(envelope)
    return message


def _takes_what(
    model: Callable[P, object],
) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """Have a function checked as if it had the parameters of another one."""
    return lambda function: function


@_takes_what(send_mail)
def send_mail_a(*args: t.Any, **kwargs: t.Any) -> tasks.Task[None]:
    r"""Send a mail in the background, as a task of :func:`run_background`.

    It is composed before this returns, so that what cannot be sent is an error here.
    The task tries again while the server is not there or has no time, and for those
    receivers that the server wants to come back for later.

    :param \*args: What :func:`send_mail` takes.
    :param \*\*kwargs: What :func:`send_mail` takes.
    :returns: The task.
    :raises MessageError: If it cannot be sent as it is.
    :raises ExecutionDisabledError: If it would be sent by a thread, and the app was
        loaded with ``execution=False``.
    :raises ServiceUnavailableError: If the queue cannot take it.
    :raises SettingMissingError: If neither SMTP_URL nor SMTP_HOST has a value.
    :raises ConfigError: If SMTP_CA_FILE or the folder of ``file:`` is no good.
    :raises NotLoadedError: If the app, or no app at all, is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    given = inspect.signature(send_mail).bind(*args, **kwargs)
    given.apply_defaults()
    state, message, envelope = _prepare(**given.arguments)
    _ = state.handle(SERVICE).engine  # what it cannot be made of is an error here
    with _entered(state):
        return _deliver_later(envelope, str(message["Message-ID"]))


def _deliver_later(envelope: "Envelope", identifier: str) -> tasks.Task[None]:
    sender, receivers, content, international = envelope
    # A queue takes JSON; Latin-1 gives each byte a character.
    return tasks.run_background(
        _deliver,
        (sender, list(receivers), content.decode("latin-1"), international, identifier),
        description=f"mail {identifier}",
        retries=_RETRIES,
    )


def _deliver(
    sender: str,
    receivers: Iterable[str],
    content: str,
    international: bool,
    identifier: str,
) -> None:
    """Hand a composed message over; the task of :func:`send_mail_a`."""
    from quorum import messages

    envelope = messages.Envelope(
        sender, tuple(receivers), content.encode("latin-1"), international
    )
    try:
        get_handle(SERVICE).engine.send(envelope)
    except ReceiversRefusedError as error:
        if error.retryable:
            raise
        # To try all of it again would send it twice to those who have it.
        again = [who for who, answer in error.refused.items() if answer[:1] == "4"]
        if again:
            later = envelope._replace(receivers=tuple(again))
            try:
                _deliver_later(later, identifier)
            except QuorumError as cause:  # which might have all of this tried again
                raise error from cause
        if len(again) < len(error.refused):
            raise


def _prepare(
    app: flask.Flask | None,
    subject: str,
    sender: "Mailbox | None",
    data: str | None,
    plain: str | None,
    rich: str | None,
    context: Mapping[str, t.Any] | None,
    headers: Mapping[str, str] | None,
    **rest: t.Any,
) -> "tuple[State, EmailMessage, Envelope]":
    """Return the app's state, the message, and what of it goes over the wire."""
    from quorum import messages

    state = get_state(app)
    settings = state.settings(MailSettings)
    if data is not None and not isinstance(data, str):
        raise MessageError("data", f"it takes text, not a {type(data).__name__}.")
    with _entered(state):
        text = _render("plain", plain, context or {}, data)
        html = _render("rich", rich, context or {}, data and messages.as_html(data))
    if text is None and html is None:
        fault = "there is nothing to send. Pass data, or a template as plain or rich."
        raise MessageError("data", fault)
    author = messages.parse_mailbox(*_find_sender(settings, sender))
    message, envelope = messages.compose(
        subject=subject,
        sender=author,
        text=text,
        rich=html,
        headers=headers or {},
        **rest,
    )
    size = len(envelope.content)
    if size > settings.limit:
        fault = f"it has {size} bytes, and SMTP_LIMIT is {settings.limit}."
        raise MessageError("message", f"{fault} Send less, or a link to it.")
    return state, message, envelope


def _find_sender(
    settings: MailSettings, sender: "Mailbox | None"
) -> "tuple[str, Mailbox]":
    """Return whom a mail is from, and what says so."""
    if sender is not None:
        return "sender", sender
    if settings.sender is not None:
        return "SMTP_SENDER", settings.sender
    user = settings.server.user if settings.configured else None
    if user is not None:
        return "SMTP_USER", user
    raise MessageError("sender", "there is none. Pass it, or set SMTP_SENDER.")


def _render(
    argument: str,
    template: str | None,
    context: Mapping[str, t.Any],
    instead: str | None,
) -> str | None:
    """Return a part of a message: a template's output, else what stands in for it."""
    if template is None:
        return instead
    try:
        return flask.render_template(template, **context)
    except Exception as error:
        fault = f"the template {template!r} cannot be rendered"
        if isinstance(error, TemplateNotFound):
            reason = f"there is no {error.name!r} in the templates folder"
        else:
            reason = f"{type(error).__name__}: {error}".rstrip(".")
        if instead is None:
            raise MessageError(argument, f"{fault}: {reason}.") from error
        _LOGGER.exception("Mail: %s, so data was sent in its place.", fault)
        return instead


def _entered(state: State) -> contextlib.AbstractContextManager[object]:
    """Return the app's context, or nothing if it is the current one."""
    context = app_context.get(None)
    if context is not None and context.app is state.app:
        return contextlib.nullcontext()
    return state.app.app_context()
