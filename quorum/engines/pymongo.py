"""A MongoDB server."""

import typing as t

import pymongo
import pymongo.errors

from quorum.errors import (
    ConfigError,
    Problem,
    ServiceRefusedError,
    ServiceUnavailableError,
)
from quorum.mongodb import MongoSettings


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
        self._host = settings.location.parts.hostname or hosts
        single = "," not in hosts and settings.scheme == "mongodb"
        self._port = (settings.location.parts.port or 27017) if single else 0

    def ping(self) -> None:
        """Ask the server for an answer.

        :raises ServiceRefusedError: If it does not take the user and password.
        :raises ServiceUnavailableError: If it cannot be reached.
        """
        place = ("mongodb", self._host, self._port)
        try:
            self.client.admin.command("ping")
        except (pymongo.errors.OperationFailure, pymongo.errors.ConfigurationError):
            reason = "the server did not take the user and the password"
            raise ServiceRefusedError(*place, reason) from None
        except pymongo.errors.PyMongoError as error:
            reason = str(error).partition(" (configured timeouts")[0]
            raise ServiceUnavailableError(*place, reason) from error

    def close(self) -> None:
        """Close every connection."""
        self.client.close()
