"""A MongoDB server."""

import contextlib
import typing as t
from collections.abc import Iterator

import pymongo
import pymongo.collection
import pymongo.errors

from quorum.errors import (
    ConfigError,
    DuplicateError,
    Problem,
    QuorumError,
    ServiceRefusedError,
    ServiceUnavailableError,
)
from quorum.mongodb import MongoSettings

#: The server's code for a user or a password that it does not take.
_NOT_KNOWN: t.Final = 18

#: What FerretDB says of a duplicate in an update or a new index, which has no code.
_UNIQUE_FAILED: t.Final = "UNIQUE constraint failed"


@contextlib.contextmanager
def talk(*place: t.Any) -> Iterator[None]:
    r"""Make quorum's errors of PyMongo's, for the length of a block.

    :param \*place: The service, the host and the port.
    :raises DuplicateError: If a unique index has the value; the model is not named,
        and the field only when the server names it.
    :raises ServiceRefusedError: If the server does not do it.
    :raises ServiceUnavailableError: If it cannot be reached. It is unknown whether
        it did what it was asked to do.
    """
    try:
        yield
    except pymongo.errors.PyMongoError as error:
        raise _explain(error, *place) from error


def _explain(
    error: pymongo.errors.PyMongoError, service: str, host: str, port: int
) -> QuorumError:
    if not isinstance(error, pymongo.errors.OperationFailure):
        reason = str(error).partition(" (configured timeouts")[0]
        if isinstance(error, pymongo.errors.ConnectionFailure):
            return ServiceUnavailableError(service, host, port, reason)
        return ServiceRefusedError(service, host, port, reason)
    details: t.Any = error.details or {}
    reason = str(details.get("errmsg") or error)
    if isinstance(error, pymongo.errors.ExecutionTimeout):
        return ServiceUnavailableError(service, host, port, reason)
    if isinstance(error, pymongo.errors.DuplicateKeyError) or _UNIQUE_FAILED in reason:
        return DuplicateError("", ", ".join(details.get("keyPattern", ())))
    if error.code == _NOT_KNOWN:
        reason = "the server did not take the user and the password"
    return ServiceRefusedError(service, host, port, reason)


class MongoServer:
    """pymongo's client of a server, or of the servers that the URL names.

    :param settings: Where the servers are.
    :raises ConfigError: If pymongo does not take the URL.
    """

    def __init__(self, settings: MongoSettings) -> None:
        milliseconds = int(settings.timeout * 1000)
        try:
            self.client: pymongo.MongoClient[dict[str, t.Any]] = pymongo.MongoClient(
                settings.location,
                connect=False,
                serverSelectionTimeoutMS=milliseconds,
                connectTimeoutMS=milliseconds,
                socketTimeoutMS=milliseconds,
                tz_aware=True,
                uuidRepresentation="standard",
            )
            self.database: str | None = (
                self.client.get_default_database("").name or None
            )
        except pymongo.errors.InvalidName:
            self.database = None
        except pymongo.errors.PyMongoError as error:
            # The client's own message may quote the password.
            fault = f"it is refused by pymongo ({type(error).__name__})."
            problem = Problem("MONGOHQ_URL", "pymongo", fault)
            raise ConfigError(problem) from None
        hosts = settings.location.parts.netloc.rpartition("@")[2]
        self.address: str = hosts
        single = "," not in hosts and settings.scheme == "mongodb"
        port = (settings.location.parts.port or 27017) if single else 0
        self._place = ("mongodb", settings.location.parts.hostname or hosts, port)
        self.decodes: bool = True
        self.collections: dict[
            type, pymongo.collection.Collection[dict[str, t.Any]]
        ] = {}

    def ping(self) -> None:
        """Ask the server for an answer.

        :raises ServiceRefusedError: If it does not take the user and password.
        :raises ServiceUnavailableError: If it cannot be reached.
        """
        with self.talk():
            self.client.admin.command("ping")

    def talk(self) -> contextlib.AbstractContextManager[None]:
        """Make quorum's errors of PyMongo's, for the length of a block."""
        return talk(*self._place)

    def close(self) -> None:
        """Close every connection."""
        self.client.close()
