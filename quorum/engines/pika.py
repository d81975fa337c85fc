"""An AMQP broker."""

import contextlib
import threading
import typing as t

import pika
import pika.exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from quorum.amqp import AMQPSettings
from quorum.errors import ServiceRefusedError, ServiceUnavailableError

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

    def __init__(self, settings: AMQPSettings) -> None:
        self._parameters = pika.URLParameters(settings.location)
        self._parameters.socket_timeout = settings.timeout
        self._parameters.stack_timeout = settings.timeout
        self._parameters.blocked_connection_timeout = settings.timeout
        self._host, self._port = self._parameters.host, self._parameters.port
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
        place = ("amqp", self._host, self._port)
        try:
            return pika.BlockingConnection(self._parameters)
        except _REFUSED as error:
            reason = f"the broker refused: {_reason(error)}"
            raise ServiceRefusedError(*place, reason) from error
        except AMQPConnectorException as error:
            reason = "the broker does not answer"
            raise ServiceUnavailableError(*place, reason) from error
        except (pika.exceptions.AMQPError, OSError) as error:
            raise ServiceUnavailableError(*place, _reason(error)) from error


def _reason(error: BaseException) -> str:
    """Return why a connection failed; pika nests the reason, or gives none."""
    inner: t.Any = error.args[0] if error.args else None
    inner = getattr(inner, "exception", inner)
    return str(inner or getattr(error, "reply_text", "") or type(error).__name__)
