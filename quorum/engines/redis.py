"""A Redis server."""

import redis
import redis.backoff
import redis.retry

from quorum.config import ServiceSettings
from quorum.errors import (
    ServiceError,
    ServiceRefusedError,
    ServiceUnavailableError,
)

#: Seconds of silence after which a pooled connection is tried before its next use.
_HEALTH_CHECK = 30

_DROPPED = (redis.ConnectionError, redis.TimeoutError)


class RedisServer:
    """redis-py's client of a server.

    A call over a connection that was dropped is tried again, up to three times
    within a second.

    :param settings: Where the server is.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        parts = settings.location.parts
        self._host, self._port = parts.hostname or parts.path, parts.port or 6379
        if settings.scheme == "unix":
            self._port = 0
        self.address: str = f"{self._host}:{self._port}" if self._port else self._host
        self.client: redis.Redis = redis.Redis.from_url(
            settings.location,
            socket_timeout=settings.timeout,
            socket_connect_timeout=settings.timeout,
            health_check_interval=_HEALTH_CHECK,
            retry=redis.retry.Retry(redis.backoff.ExponentialBackoff(0.5, 0.01), 3),
            retry_on_error=list(_DROPPED),
        )

        pool = self.client.connection_pool  # it would count a connection it made
        pool.connection_class(**pool.connection_kwargs)  # tries the URL's options

    def ping(self) -> None:
        """Ask the server for an answer.

        :raises ServiceRefusedError: If it does not take the password, or the command.
        :raises ServiceUnavailableError: If it cannot be reached.
        """
        try:
            self.client.ping()
        except redis.RedisError as error:
            raise self.explain(error) from error

    def explain(self, error: BaseException) -> ServiceError:
        """Return the error of ours for one of redis-py's.

        :param error: What redis-py raised.
        :returns: The error to raise.
        """
        place = ("redis", self._host, self._port)
        if isinstance(error, (redis.AuthenticationError, redis.ResponseError)):
            return ServiceRefusedError(*place, f"the server refused: {error}")
        return ServiceUnavailableError(*place, str(error))

    def close(self) -> None:
        """Close every connection of the pool."""
        self.client.close()
        self.client.connection_pool.disconnect()
