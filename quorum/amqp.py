"""AMQP: the connection of the app in use to a message broker."""

import typing as t
from typing import TYPE_CHECKING

from quorum import parsers
from quorum.config import ServiceSettings, Variable, variable
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

    A connection that has died is replaced. :func:`unload` closes it.

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
