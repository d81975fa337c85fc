"""An AMQP broker."""

import contextlib
import threading
import typing as t

import pika
import pika.exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from quorum.config import ServiceSettings
from quorum.errors import (
    ServiceError,
    ServiceRefusedError,
    ServiceUnavailableError,
)

BROKEN: t.Final = (pika.exceptions.AMQPError, AMQPConnectorException)

_REFUSED = (
    pika.exceptions.ProbableAuthenticationError,
    pika.exceptions.ProbableAccessDeniedError,
    pika.exceptions.AuthenticationError,
    pika.exceptions.ConnectionClosedByBroker,
)


class AMQPBroker:
    """pika's connections to a broker, one for each thread that asks.

    :param settings: Where the broker is.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.parameters = pika.URLParameters(settings.location)
        self.parameters.socket_timeout = settings.timeout
        self.parameters.stack_timeout = settings.timeout
        self.parameters.blocked_connection_timeout = settings.timeout
        self._host, self._port = self.parameters.host, self.parameters.port
        self.address: str = f"{self._host}:{self._port}"
        self._own = threading.local()
        self._lock = threading.Lock()
        self._open: list[pika.BlockingConnection] = []

    def connection(self) -> pika.BlockingConnection:
        """Return the open connection of this thread.

        :returns: The connection; one that has died is replaced.
        :raises ServiceUnavailableError: If the broker cannot be reached.
        """
        connection: pika.BlockingConnection | None
        connection = getattr(self._own, "connection", None)
        if connection is None or not connection.is_open:
            connection = self._own.connection = self._connect()
            with self._lock:
                self._open = [item for item in self._open if item.is_open]
                self._open.append(connection)
        return connection

    def ping(self) -> None:
        """Ask the broker for an answer, over a connection of its own.

        :raises ServiceUnavailableError: If it cannot be reached.
        """
        self._connect().close()

    def close(self) -> None:
        """Close every connection, those of other threads too."""
        with self._lock:
            connections, self._open = self._open, []
        self._own = threading.local()
        for connection in connections:
            with contextlib.suppress(pika.exceptions.AMQPError):
                connection.close()

    def _connect(self) -> pika.BlockingConnection:
        try:
            return pika.BlockingConnection(self.parameters)
        except (*BROKEN, OSError) as error:
            raise self.explain(error) from error

    def explain(self, error: BaseException) -> ServiceError:
        """Return the error of ours for one of pika's.

        :param error: What pika raised.
        :returns: The error to raise.
        """
        place = ("amqp", self._host, self._port)
        # 320 is a broker that is being stopped.
        if isinstance(error, _REFUSED) and getattr(error, "reply_code", 0) != 320:
            reason = f"the broker refused: {_reason(error)}"
            return ServiceRefusedError(*place, reason)
        if isinstance(error, AMQPConnectorException):
            return ServiceUnavailableError(*place, "the broker does not answer")
        return ServiceUnavailableError(*place, _reason(error))


def _reason(error: BaseException) -> str:
    """Return why a connection failed; pika nests the reason, or gives none."""
    inner: t.Any = error.args[0] if error.args else None
    inner = getattr(inner, "exception", inner)
    return str(inner or getattr(error, "reply_text", "") or type(error).__name__)
