"""A MongoDB in the memory of the process, for tests and for a first try."""

import contextlib
import typing as t

import mongomock_ng

from quorum.extras import require
from quorum.mongodb import MongoSettings

if t.TYPE_CHECKING:
    import pymongo
    import pymongo.collection


class MongoMemory:
    """mongomock-ng: each app has a store of its own, which goes with it.

    :param settings: May name the database, as in ``memory:shop``.
    """

    address: str = "memory:"

    def __init__(self, settings: MongoSettings) -> None:
        client: object = mongomock_ng.MongoClient(
            tz_aware=True, uuidRepresentation="standard"
        )
        self.client: pymongo.MongoClient[dict[str, t.Any]] = t.cast(t.Any, client)
        self.database: str | None = settings.location.parts.path.strip("/") or None
        self.decodes: bool = False
        self.collections: dict[
            type, pymongo.collection.Collection[dict[str, t.Any]]
        ] = {}

    def ping(self) -> None:
        """Ask the store for an answer."""
        self.client.server_info()

    def talk(self) -> contextlib.AbstractContextManager[None]:
        """Make quorum's errors of PyMongo's, which mongomock-ng raises too."""
        talk: t.Any = require("quorum.engines.pymongo:talk")
        return t.cast("contextlib.AbstractContextManager[None]", talk("mongodb", "", 0))

    def close(self) -> None:
        """Let go of the store."""
        self.client.close()
