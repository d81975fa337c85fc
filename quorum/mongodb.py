"""MongoDB: the client and the database of the app in use."""

import contextlib
import reprlib
import typing as t
from typing import TYPE_CHECKING

from quorum import parsers
from quorum.config import ServiceSettings, Variable, variable
from quorum.errors import ObjectIdError, SettingMissingError
from quorum.extras import require
from quorum.service import Engine, Service
from quorum.state import get_handle, get_state

if TYPE_CHECKING:
    import bson
    import pymongo
    import pymongo.collection
    import pymongo.database

__all__ = ["get_connection"]


class MongoSettings(ServiceSettings):
    """The MongoDB server."""

    location: Variable[parsers.URL] = variable(
        "MONGOHQ_URL",
        parsers.url("mongodb", "mongodb+srv", "memory"),
        secret=True,
        since="0.1.5",
        aliases=("MONGO_URL", "MONGOLAB_URI"),
        help="URL of the MongoDB server, with the database to use when there is one.",
    )
    timeout: Variable[float] = variable(
        "MONGODB_TIMEOUT",
        parsers.seconds,
        default=10.0,
        since="0.2.0",
        help="Seconds to wait for the MongoDB server.",
    )


class MongoDB(Engine, t.Protocol):
    """What an engine of MongoDB offers."""

    client: "pymongo.MongoClient[dict[str, t.Any]]"

    #: Name of the database that the URL names, None when it names none.
    database: str | None

    #: Whether the client itself gives documents the types that models read.
    decodes: bool

    #: Collections whose indexes are there, by their model classes.
    collections: "dict[type, pymongo.collection.Collection[dict[str, t.Any]]]"

    def talk(self) -> contextlib.AbstractContextManager[None]:
        """Make quorum's errors of the client's, for the length of a block."""
        ...


SERVICE: t.Final[Service[MongoSettings, MongoDB]] = Service(
    "mongodb",
    MongoSettings,
    {
        "mongodb": "quorum.engines.pymongo:MongoServer",
        "mongodb+srv": "quorum.engines.pymongo:MongoServer",
        "memory": "quorum.engines.mongomock:MongoMemory",
    },
)


def get_connection() -> "pymongo.MongoClient[dict[str, t.Any]]":
    """Return the MongoDB client of the app in use.

    Threads share it, a process that was forked off has its own, and it connects when
    it is used. :func:`quorum.unload` closes it.

    :returns: The client; for ``memory:`` an object that works alike.
    :raises SettingMissingError: If MONGOHQ_URL has no value.
    :raises MissingDependencyError: If pymongo, or mongomock-ng for ``memory:``, is
        not installed.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    return get_handle(SERVICE).engine.client


#: The name of :func:`quorum.mongodb.get_connection` at the top of the package.
get_mongo = get_connection


def get_mongo_db() -> "pymongo.database.Database[dict[str, t.Any]]":
    """Return the database of the app in use.

    :returns: The database that MONGOHQ_URL names, else the one that
        ``load(mongo_database=…)`` names.
    :raises SettingMissingError: If neither names one, or MONGOHQ_URL has no value.
    :raises MissingDependencyError: If pymongo, or mongomock-ng for ``memory:``, is
        not installed.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    return _get_database(get_handle(SERVICE).engine)


def drop_mongo_db() -> None:
    """Delete everything in the database of the app in use, its indexes too.

    Model classes make their indexes anew when they are used next.

    :raises SettingMissingError: If no database is named, or MONGOHQ_URL has no value.
    :raises MissingDependencyError: If pymongo, or mongomock-ng for ``memory:``, is
        not installed.
    :raises ServiceUnavailableError: If the server cannot be reached. Calling it again
        is safe.
    :raises ServiceRefusedError: If the user may not do that.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    engine = get_handle(SERVICE).engine
    database = _get_database(engine)
    with engine.talk():
        engine.client.drop_database(database.name)
    engine.collections.clear()


def dumps_mongo(value: object) -> str:
    """Return JSON text of values that may be MongoDB's own.

    :param value: What PyMongo returns: documents, lists, ids, times, bytes.
    :returns: JSON, with such values in MongoDB's relaxed extended form.
    :raises MissingDependencyError: If pymongo is not installed.
    """
    return str(require("bson.json_util:dumps")(value))


def object_id(value: object) -> "bson.ObjectId":
    """Return the object id that a text stands for.

    :param value: 24 hexadecimal digits, or an object id already.
    :returns: The object id.
    :raises ObjectIdError: If it is neither.
    :raises MissingDependencyError: If pymongo is not installed.
    """
    make = require("bson:ObjectId")
    if not (
        isinstance(value, make) or (isinstance(value, str) and make.is_valid(value))
    ):
        raise ObjectIdError(reprlib.repr(value))
    return t.cast("bson.ObjectId", make(value))


def _get_database(engine: MongoDB) -> "pymongo.database.Database[dict[str, t.Any]]":
    """Return the database that MONGOHQ_URL names, else the one of ``load()``."""
    name = engine.database or get_state().mongo_database
    if not name:
        hint = "Put the database's name in it, or call load(mongo_database=…)."
        raise SettingMissingError("MONGOHQ_URL", hint)
    return engine.client[name]
