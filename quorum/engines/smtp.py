"""A mail server that is spoken to by SMTP."""

import contextlib
import smtplib
import ssl

from quorum.errors import ServiceRefusedError, ServiceUnavailableError
from quorum.mail import MailSettings
from quorum.parsers import split_port


class SMTPEngine:
    """The standard library's client, over verified TLS when the server offers it.

    :param settings: Where the server is.
    """

    def __init__(self, settings: MailSettings) -> None:
        host, port = split_port(settings.location)
        self._host, self._port = host, port or smtplib.SMTP_PORT
        self._settings = settings
        self.address: str = f"{self._host}:{self._port}"

    def ping(self) -> None:
        """Connect, log in when there is a user, and ask for an answer.

        :raises ServiceRefusedError: If the server's certificate is no good, or it does
            not take the user and password, or would have them sent unencrypted.
        :raises ServiceUnavailableError: If it cannot be reached.
        """
        place = ("mail", self._host, self._port)
        try:
            with contextlib.closing(self._connect()) as server:
                server.noop()
                server.quit()
        except ssl.SSLError as error:
            reason = f"its certificate is not accepted: {error.reason or error}"
            raise ServiceRefusedError(*place, reason) from error
        except (smtplib.SMTPAuthenticationError, smtplib.SMTPNotSupportedError):
            reason = "the server did not take the user and the password"
            raise ServiceRefusedError(*place, reason) from None
        except (smtplib.SMTPException, OSError) as error:
            raise ServiceUnavailableError(*place, str(error)) from error

    def close(self) -> None:
        """Do nothing: no connection is kept."""

    def _connect(self) -> smtplib.SMTP:
        settings = self._settings
        server = smtplib.SMTP(self._host, self._port, timeout=settings.timeout)
        try:
            server.ehlo()
            encrypted = server.has_extn("starttls")
            if encrypted:
                server.starttls(context=ssl.create_default_context())
            if settings.user is not None:
                if not encrypted:
                    reason = "it offers no TLS, so the password was not sent"
                    raise ServiceRefusedError("mail", self._host, self._port, reason)
                server.login(settings.user, settings.password or "")
        except BaseException:
            server.close()
            raise
        return server
