"""Redis: the client of the app in use."""

import hashlib
import json
import typing as t
from collections.abc import Sequence
from typing import TYPE_CHECKING

from quorum import parsers
from quorum.config import ServiceSettings, Variable, variable
from quorum.service import Engine, Service
from quorum.state import get_handle

if TYPE_CHECKING:
    import redis


class RedisSettings(ServiceSettings):
    """The Redis server."""

    location: Variable[parsers.URL] = variable(
        "REDISTOGO_URL",
        parsers.url("redis", "rediss", "unix", "memory"),
        secret=True,
        since="0.1.0",
        aliases=("REDIS_URL",),
        help="URL of the Redis server.",
    )
    timeout: Variable[float] = variable(
        "REDIS_TIMEOUT",
        parsers.seconds,
        default=10.0,
        since="0.2.0",
        help="Seconds to wait for the Redis server.",
    )


class Script:
    """A program in Lua that the server runs at once, without others in between.

    :param text: The program.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest: str = hashlib.sha1(
            text.encode(), usedforsecurity=False
        ).hexdigest()


class RedisDB(Engine, t.Protocol):
    """What an engine of Redis offers."""

    client: "redis.Redis"

    def read(self, key: str, milliseconds: str) -> bytes | None:
        """Return the value of a key, and have it live so long from now on.

        :param key: The key.
        :param milliseconds: How long.
        :returns: The value; None if there is none.
        :raises ServiceRefusedError: If the server does not take the password, or the
            key has a value of another type.
        :raises ServiceUnavailableError: If the server cannot be reached, or cannot
            write just now.
        """

    def run(
        self, script: Script, keys: Sequence[str], values: Sequence[str | bytes]
    ) -> t.Any:
        """Run a script in one round trip, and return what it returns, as bytes.

        It may be run twice, as a call over a connection that was dropped is.

        :param script: The script.
        :param keys: Its ``KEYS``.
        :param values: Its ``ARGV``.
        :returns: What it returns.
        :raises ServiceRefusedError: If the server does not take the password, or the
            script.
        :raises ServiceUnavailableError: If the server cannot be reached, or cannot
            write just now.
        """


SERVICE: t.Final[Service[RedisSettings, RedisDB]] = Service(
    "redis",
    RedisSettings,
    {
        "redis": "quorum.engines.redis:RedisServer",
        "rediss": "quorum.engines.redis:RedisServer",
        "unix": "quorum.engines.redis:RedisServer",
        "memory": "quorum.engines.fakeredis:RedisMemory",
    },
)


def get_redis() -> "redis.Redis":
    """Return the Redis client of the app in use.

    Threads share it, a process that was forked off has its own, and it connects when
    it is used. :func:`unload` closes it.

    :returns: The client.
    :raises SettingMissingError: If REDISTOGO_URL has no value.
    :raises MissingDependencyError: If redis, or fakeredis for ``memory:``, is not
        installed.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    return get_handle(SERVICE).engine.client


def dumps_redis(value: object) -> str:
    """Return the JSON text of a value, to be kept in Redis.

    :param value: Anything that :func:`json.dumps` takes; its errors are Python's own.
    :returns: The text, for :func:`json.loads`.
    """
    return json.dumps(value)
