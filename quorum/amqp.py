"""AMQP: the connection of the app in use to a message broker."""

import json
import typing as t
from typing import TYPE_CHECKING

from quorum import parsers
from quorum.config import ServiceSettings, Variable, variable
from quorum.errors import ServiceRefusedError
from quorum.extras import require
from quorum.service import Engine, Service
from quorum.state import get_handle

if TYPE_CHECKING:
    import pika


class AMQPSettings(ServiceSettings):
    """The AMQP broker."""

    location: Variable[parsers.URL] = variable(
        "CLOUDAMQP_URL",
        parsers.url("amqp", "amqps"),
        secret=True,
        since="0.1.0",
        aliases=("AMQP_URL", "RABBITMQ_URL"),
        help="URL of the AMQP broker, with its virtual host.",
    )
    timeout: Variable[float] = variable(
        "AMQP_TIMEOUT",
        parsers.seconds,
        default=10.0,
        since="0.2.0",
        help="Seconds to wait for the AMQP broker.",
    )


class AMQP(Engine, t.Protocol):
    """What an engine of AMQP offers."""

    def connection(self) -> "pika.BlockingConnection":
        """Return the open connection of this thread."""
        ...

    def publish(
        self,
        body: bytes,
        routing_key: str,
        exchange: str,
        properties: "pika.BasicProperties",
    ) -> None:
        """Publish a message, and wait until the broker has confirmed it."""


SERVICE: t.Final[Service[AMQPSettings, AMQP]] = Service(
    "amqp",
    AMQPSettings,
    {
        "amqp": "quorum.engines.pika:AMQPBroker",
        "amqps": "quorum.engines.pika:AMQPBroker",
    },
)


def get_amqp() -> "pika.BlockingConnection":
    """Return the open AMQP connection of this thread, in the app in use.

    A connection that has died is replaced; what has arrived on one that lives is dealt
    with first, consumers included. :func:`unload` closes it.

    :returns: The connection; do not hand it to another thread.
    :raises SettingMissingError: If CLOUDAMQP_URL has no value.
    :raises MissingDependencyError: If pika is not installed.
    :raises ServiceUnavailableError: If the broker cannot be reached.
    :raises ServiceRefusedError: If the broker does not take the user, the password or
        the virtual host.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    return get_handle(SERVICE).engine.connection()


def properties_amqp(**properties: t.Any) -> "pika.BasicProperties":
    r"""Return the properties of a message, for :func:`publish_amqp`.

    :param \*\*properties: What pika's ``BasicProperties`` takes, such as ``headers`` or
        ``expiration``. Without ``delivery_mode``, the message is persistent.
    :returns: The properties.
    :raises MissingDependencyError: If pika is not installed.
    """
    made: pika.BasicProperties
    made = require("quorum.engines.pika:make_properties")(**properties)
    return made


def publish_amqp(
    body: object,
    routing_key: str,
    exchange: str = "",
    *,
    properties: "pika.BasicProperties | None" = None,
) -> None:
    """Publish a message, and return when the broker has confirmed it.

    It is persistent, and a lost connection is replaced once. The broker may have the
    message twice then, and after an error it may have it once.

    :param body: The message: bytes as they are, text as UTF-8, anything else as JSON.
    :param routing_key: What the exchange routes it by; the name of the queue for the
        default exchange.
    :param exchange: Name of the exchange.
    :param properties: More about the message, by :func:`properties_amqp`; without a
        content type of their own they get the one of text or of JSON.
    :raises ServiceUnavailableError: If the broker cannot be reached, does not confirm
        within AMQP_TIMEOUT, or turns the message down as a full queue does.
    :raises ServiceRefusedError: If no queue takes the message, there is no such
        exchange, or AMQP cannot carry it: nothing was sent then.
    :raises SettingMissingError: If CLOUDAMQP_URL has no value.
    :raises MissingDependencyError: If pika is not installed.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    engine = get_handle(SERVICE).engine
    content, kind = body, None
    try:
        if not isinstance(content, (bytes, bytearray, memoryview, str)):
            content, kind = json.dumps(body, allow_nan=False), "application/json"
        if isinstance(content, str):
            content, kind = content.encode(), kind or "text/plain; charset=utf-8"
    except (TypeError, ValueError, RecursionError) as error:
        host, _, port = engine.address.rpartition(":")
        reason = f"the body cannot be written: {error}"
        raise ServiceRefusedError("amqp", host, int(port), reason) from error
    given = {
        k: v
        for k, v in (vars(properties) if properties else {}).items()
        if v is not None
    }
    made = properties_amqp(**{"content_type": kind, **given})
    engine.publish(bytes(content), routing_key, exchange, made)
