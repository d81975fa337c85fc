"""Outgoing mail: where it is handed over."""

import typing as t

from quorum import parsers
from quorum.config import ServiceSettings, Variable, variable
from quorum.service import Engine, Service


class MailSettings(ServiceSettings):
    """The server that relays outgoing mail."""

    location: Variable[str] = variable(
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
    timeout: Variable[float] = variable(
        "SMTP_TIMEOUT",
        parsers.seconds,
        default=10.0,
        since="0.2.0",
        help="Seconds to wait for the mail server.",
    )

    @property
    def scheme(self) -> str:
        """What picks the engine; a host is always one that speaks SMTP."""
        _ = self.location
        return "smtp"


SERVICE: t.Final[Service[MailSettings, Engine]] = Service(
    "mail", MailSettings, {"smtp": "quorum.engines.smtp:SMTPEngine"}
)
