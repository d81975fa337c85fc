"""A Redis in the memory of the process, for tests and for a first try."""

import fakeredis
import redis

from quorum.engines.redis import RedisServer
from quorum.redisdb import RedisSettings


class RedisMemory(RedisServer):
    """fakeredis: each app has a store of its own, which goes with it.

    :param settings: Not needed.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self.address: str = "memory:"
        self._host, self._port = self.address, 0
        server = fakeredis.FakeServer()
        self.client: redis.Redis = fakeredis.FakeRedis(server=server)
