"""A Redis server."""

import typing as t
from collections.abc import Sequence

import redis
import redis.backoff
import redis.exceptions
import redis.retry

from quorum.config import ServiceSettings
from quorum.errors import ServiceError, ServiceRefusedError, ServiceUnavailableError
from quorum.redisdb import Script

#: Seconds of silence after which a pooled connection is tried before its next use.
_HEALTH_CHECK = 30

#: A call that timed out is not tried again, or it would take several time limits.
_DROPPED = (redis.ConnectionError,)

#: What a server answers that will not do now what it may do later.
_PASSING = (
    redis.exceptions.ClusterDownError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.TryAgainError,
)
_NoScriptError = redis.exceptions.NoScriptError
_REFUSED = (
    redis.exceptions.AuthorizationError,
    redis.AuthenticationError,
    redis.ResponseError,
)


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
            retry=redis.retry.Retry(
                redis.backoff.ExponentialBackoff(0.5, 0.01), 3, _DROPPED
            ),
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

    def read(self, key: str, milliseconds: str) -> bytes | None:
        """Return the value of a key, and have it live so long from now on."""
        found = self._ask("GETEX", key, "PX", milliseconds)
        return t.cast("bytes | None", found)

    def run(
        self, script: Script, keys: Sequence[str], values: Sequence[str | bytes]
    ) -> t.Any:
        """Run a script in one round trip; a server that lacks it is sent its text."""
        rest = (len(keys), *keys, *values)
        try:
            return self._ask("EVALSHA", script.digest, *rest)
        except _NoScriptError:
            return self._ask("EVAL", script.text, *rest)

    def _ask(self, *command: str | bytes | int) -> t.Any:
        """Return the answer to a command, as bytes, whatever the URL says.

        The client's own way costs a third more, for what no script needs.
        """
        try:
            pool = self.client.connection_pool
            connection: t.Any = pool.get_connection()

            def ask() -> t.Any:
                connection.send_command(*command)
                return connection.read_response(disable_decoding=True)

            try:
                return connection.retry.call_with_retry(
                    ask, lambda _: connection.disconnect()
                )
            finally:
                pool.release(connection)
        except _NoScriptError:
            raise
        except redis.RedisError as error:
            raise self.explain(error) from error

    def explain(self, error: BaseException) -> ServiceError:
        """Return the error of ours for one of redis-py's."""
        place = ("redis", self._host, self._port)
        if isinstance(error, _REFUSED) and not isinstance(error, _PASSING):
            return ServiceRefusedError(*place, f"the server refused: {error}")
        return ServiceUnavailableError(*place, str(error))

    def close(self) -> None:
        """Close every connection of the pool."""
        self.client.close()
        self.client.connection_pool.disconnect()
