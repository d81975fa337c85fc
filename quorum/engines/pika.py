"""An AMQP broker."""

import contextlib
import ssl
import threading
import typing as t
from collections.abc import Iterator

import pika
import pika.data
import pika.exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from quorum.config import ServiceSettings
from quorum.errors import ServiceError, ServiceRefusedError, ServiceUnavailableError

BROKEN: t.Final = (pika.exceptions.AMQPError, AMQPConnectorException)

_REFUSED = (
    pika.exceptions.ProbableAuthenticationError,
    pika.exceptions.ProbableAccessDeniedError,
    pika.exceptions.AuthenticationError,
    pika.exceptions.ConnectionClosedByBroker,
    ssl.SSLCertVerificationError,
)

#: Reply codes of a broker that stops, and of one that is at fault itself.
_MAY_PASS: t.Final = (320, 541)

#: What a frame has beside the properties; they cannot be split.
_FRAME_EXTRA: t.Final = 32


def make_properties(**properties: t.Any) -> pika.BasicProperties:
    r"""Make the properties of a message; it is persistent unless they differ.

    :param \*\*properties: The properties that pika knows.
    :returns: The properties.
    """
    return pika.BasicProperties(**{"delivery_mode": 2, **properties})


class _Own:
    """What a thread has of its own: a connection, and a channel that confirms.

    :param connection: The connection.
    """

    def __init__(self, connection: pika.BlockingConnection) -> None:
        self.connection = connection
        # Held while it works, so that a close from another thread waits. A consumer
        # that is called meanwhile may publish too.
        self.lock = threading.RLock()
        self._channel: t.Any = None

    @property
    def channel(self) -> t.Any:
        """The channel to publish on; an error of the broker closes it."""
        if self._channel is None or not self._channel.is_open:
            self._channel = self.connection.channel()
            self._channel.confirm_delivery()
        return self._channel


class AMQPBroker:
    """pika's connections to a broker, one for each thread that asks.

    :param settings: Where the broker is.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.parameters: pika.URLParameters = pika.URLParameters(settings.location)
        self.parameters.socket_timeout = settings.timeout
        self.parameters.stack_timeout = settings.timeout
        self.parameters.blocked_connection_timeout = settings.timeout
        self._timeout = settings.timeout
        self._place = ("amqp", self.parameters.host, self.parameters.port)
        self.address: str = f"{self.parameters.host}:{self.parameters.port}"
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, _Own] = {}
        self._closed = False

    def connection(self) -> pika.BlockingConnection:
        """Return the open connection of this thread.

        :returns: The connection; one that has died is replaced.
        :raises ServiceUnavailableError: If the broker cannot be reached.
        :raises ServiceRefusedError: If it does not take the user or the virtual host.
        """
        own = self._open.get(threading.current_thread())
        if own is not None and own.connection.is_open:
            # Only who reads from a connection learns that it has died.
            # It does not wait, but a consumer that it calls may take its time.
            with contextlib.suppress(pika.exceptions.AMQPError), own.lock:
                own.connection.process_data_events(0)
        return self._get_own().connection

    def publish(
        self,
        body: bytes,
        routing_key: str,
        exchange: str,
        properties: pika.BasicProperties,
    ) -> None:
        """Publish a message, and wait until the broker has confirmed it.

        :param body: The message.
        :param routing_key: What the exchange routes it by.
        :param exchange: Name of the exchange.
        :param properties: The properties.
        :raises ServiceUnavailableError: If the broker did not confirm it.
        :raises ServiceRefusedError: If no queue takes it, or it cannot be sent.
        """
        self._check(routing_key, exchange, properties)
        message = (exchange, routing_key, body, properties)
        try:
            try:
                self._publish(*message)
            except pika.exceptions.ConnectionBlockedTimeout:
                raise
            except pika.exceptions.AMQPConnectionError:
                self._publish(*message)  # over another connection
        except pika.exceptions.UnroutableError as error:
            way = f"exchange '{exchange}' has no queue for routing key '{routing_key}'"
            raise ServiceRefusedError(*self._place, way) from error
        except pika.exceptions.ChannelClosedByBroker as error:
            raise ServiceRefusedError(*self._place, error.reply_text) from error
        except pika.exceptions.NackError as error:
            reason = "the broker did not take the message, as a full queue does not"
            raise ServiceUnavailableError(*self._place, reason) from error
        except pika.exceptions.ConnectionBlockedTimeout as error:
            reason = (
                f"the message was not confirmed in {self._timeout:g} s; "
                "the broker hangs, or is short of memory or disk"
            )
            raise ServiceUnavailableError(*self._place, reason) from error
        except pika.exceptions.AMQPError as error:
            raise ServiceUnavailableError(*self._place, _reason(error)) from error

    def ping(self) -> None:
        """Ask the broker for an answer, over a connection of its own.

        :raises ServiceUnavailableError: If it cannot be reached.
        :raises ServiceRefusedError: If it does not take the user or the virtual host.
        """
        self._close(_Own(self._connect()))

    def close(self) -> None:
        """Close every connection, those of other threads too."""
        with self._lock:
            owns, self._open, self._closed = self._open, {}, True
        for own in owns.values():
            self._close(own)

    def _publish(self, exchange: str, routing_key: str, *message: t.Any) -> None:
        own = self._get_own()
        with self._limited(own):
            own.channel.basic_publish(exchange, routing_key, *message, mandatory=True)

    def _get_own(self) -> _Own:
        thread = threading.current_thread()
        own = self._open.get(thread)
        if own is None or not own.connection.is_open:
            own = _Own(self._connect())
            with self._lock:
                self._open[thread] = own
                ended = [item for item in self._open if not item.is_alive()]
                if self._closed:  # meanwhile: nobody would close it
                    ended = list(self._open)
                left = [self._open.pop(item) for item in ended]
            for item in left:
                self._close(item)
        return own

    def _close(self, own: _Own) -> None:
        with contextlib.suppress(pika.exceptions.AMQPError), self._limited(own):
            own.connection.close()

    @contextlib.contextmanager
    def _limited(self, own: _Own) -> Iterator[None]:
        """End what waits for the broker too long; pika alone would wait for ever."""
        with own.lock:
            connection: t.Any = own.connection
            if not connection.is_open:  # a close from another thread was first
                raise pika.exceptions.ConnectionWrongStateError("closed meanwhile")
            inner = connection._impl
            late = pika.exceptions.ConnectionBlockedTimeout("it took too long")
            timer = inner._adapter_call_later(
                self._timeout, lambda: inner._terminate_stream(late)
            )
            try:
                yield
            finally:
                inner._adapter_remove_timeout(timer)

    def _check(
        self, routing_key: str, exchange: str, properties: pika.BasicProperties
    ) -> None:
        """Refuse what the protocol cannot carry, before anything is sent."""
        try:
            for name in (routing_key, exchange):
                pika.data.encode_short_string([], name)
            size = sum(map(len, properties.encode()))
        except Exception as error:  # pika raises what it meets, assertions too
            told = str(error) or type(error).__name__
            if isinstance(error, pika.exceptions.ShortStringTooLong):
                told = "a name or a property has more than 255 bytes"
            reason = f"AMQP cannot carry the message: {told}"
            raise ServiceRefusedError(*self._place, reason) from error
        if size > self.parameters.frame_max - _FRAME_EXTRA:
            reason = f"the properties are too large, with {size} bytes"
            raise ServiceRefusedError(*self._place, reason)

    def _connect(self) -> pika.BlockingConnection:
        try:
            return pika.BlockingConnection(self.parameters)
        except (*BROKEN, OSError) as error:
            raise self.explain(error) from error

    def explain(self, error: BaseException) -> ServiceError:
        """Return the error of ours for one of a connection."""
        cause = _find_cause(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = f"its certificate is not trusted: {cause.verify_message}"
            return ServiceRefusedError(*self._place, reason)
        passing = getattr(cause, "reply_code", 0) in _MAY_PASS
        if isinstance(cause, _REFUSED) and not passing:
            reason = f"the broker refused: {_reason(error)}"
            return ServiceRefusedError(*self._place, reason)
        if isinstance(error, AMQPConnectorException):
            reason = "the broker does not answer"
            return ServiceUnavailableError(*self._place, reason)
        return ServiceUnavailableError(*self._place, _reason(error))


def _find_cause(error: BaseException) -> BaseException:
    """Return the error that pika has wrapped, if it has wrapped one."""
    inner: t.Any = error.args[0] if error.args else None
    inner = getattr(inner, "exception", inner)
    return inner if isinstance(inner, BaseException) else error


def _reason(error: BaseException) -> str:
    """Return why a connection failed; pika nests the reason, or gives none."""
    cause = _find_cause(error)
    return getattr(cause, "reply_text", "") or str(cause) or type(cause).__name__
