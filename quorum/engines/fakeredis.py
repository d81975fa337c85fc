"""A Redis in the memory of the process, for tests and for a first try."""

import fakeredis
import redis

from quorum.redisdb import RedisSettings


class RedisMemory:
    """fakeredis: each app has a store of its own, which goes with it.

    :param settings: Not needed.
    """

    address: str = "memory:"

    def __init__(self, settings: RedisSettings) -> None:
        server = fakeredis.FakeServer()
        self.client: redis.Redis = fakeredis.FakeRedis(server=server)

    def ping(self) -> None:
        """Ask the store for an answer."""
        self.client.ping()

    def close(self) -> None:
        """Let go of the connections."""
        self.client.close()
