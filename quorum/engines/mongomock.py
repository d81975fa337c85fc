"""A MongoDB in the memory of the process, for tests and for a first try."""

import typing as t

import mongomock_ng

from quorum.mongodb import MongoSettings

if t.TYPE_CHECKING:
    import pymongo


class MongoMemory:
    """mongomock-ng: each app has a store of its own, which goes with it.

    :param settings: May name the database, as in ``memory:shop``.
    """

    address: str = "memory:"

    def __init__(self, settings: MongoSettings) -> None:
        client: object = mongomock_ng.MongoClient(tz_aware=True)
        self.client: pymongo.MongoClient[dict[str, t.Any]] = t.cast(t.Any, client)
        self.database: str | None = settings.location.parts.path.strip("/") or None

    def ping(self) -> None:
        """Ask the store for an answer."""
        self.client.server_info()

    def close(self) -> None:
        """Let go of the store."""
        self.client.close()
