"""Amazon S3: the objects that the app in use keeps in its bucket.

Buckets and keys have the method names of boto 2, which cannot be imported on Python
3.12 and newer; what is underneath is boto3, or a folder of this machine.
"""

import typing as t
from collections.abc import Iterable
from typing import TYPE_CHECKING

from quorum import parsers
from quorum.config import Found, ServiceSettings, Variable, variable
from quorum.errors import Problem
from quorum.objects import Amazon, AmazonBucket, AmazonKey
from quorum.service import Service
from quorum.state import get_handle

if TYPE_CHECKING:
    from botocore.client import BaseClient


class AmazonSettings(ServiceSettings):
    """The bucket at Amazon S3, or at a server that speaks its protocol."""

    location: Variable[str] = variable(
        "AMAZON_BUCKET",
        str,
        since="0.1.6",
        help="Name of the bucket that holds the objects.",
    )
    access_key: Variable[str | None] = variable(
        "AMAZON_ID",
        str,
        default=None,
        since="0.1.6",
        help="Access key ID of the account.",
    )
    secret_key: Variable[str | None] = variable(
        "AMAZON_SECRET",
        str,
        default=None,
        secret=True,
        since="0.1.6",
        help="Secret access key of the account.",
    )
    region: Variable[str | None] = variable(
        "AMAZON_REGION",
        str,
        default=None,
        since="0.2.0",
        help="Region that the bucket is in.",
    )
    endpoint: Variable[parsers.URL | None] = variable(
        "AMAZON_ENDPOINT",
        parsers.url("https", "http", "file"),
        default=None,
        since="0.2.0",
        help="URL of the server to use in place of Amazon's, or file: and a folder.",
    )
    timeout: Variable[float] = variable(
        "AMAZON_TIMEOUT",
        parsers.seconds,
        default=10.0,
        since="0.2.0",
        help="Seconds to wait for the server.",
    )

    @property
    def scheme(self) -> str:
        """What picks the engine: the scheme of the endpoint."""
        _ = self.location
        return self.endpoint.scheme if self.endpoint else "https"

    @classmethod
    def _settle(cls, found: dict[str, Found]) -> Iterable[Problem]:
        """Find a key that has no other, which boto3 would look for elsewhere.

        :param found: What the sources have.
        :yields: What is wrong.
        """
        pair = (cls.access_key.name, cls.secret_key.name)
        for missing, other in (pair, pair[::-1]):
            if found[other].value is not None and found[missing].value is None:
                fault = f"it has no value, and {other} has one. Set both or none."
                yield Problem(missing, "not set", fault)


SERVICE: t.Final[Service[AmazonSettings, Amazon]] = Service(
    "amazon",
    AmazonSettings,
    {
        "https": "quorum.engines.boto3:AmazonServer",
        "http": "quorum.engines.boto3:AmazonServer",
        "file": "quorum.engines.folder:AmazonFolder",
    },
)


def get_amazon() -> "BaseClient":
    """Return boto3's S3 client of the app in use.

    Threads share it, a process that was forked off has its own, and it connects when
    it is used. :func:`unload` closes it.

    :returns: The client.
    :raises UnsupportedError: If the objects are in a folder.
    :raises ConfigError: If boto3 does not take what the variables say.
    :raises SettingMissingError: If AMAZON_BUCKET has no value.
    :raises MissingDependencyError: If boto3 is not installed.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    return get_handle(SERVICE).engine.client


def get_amazon_bucket() -> AmazonBucket:
    """Return the bucket of the app in use; the server is not asked.

    :returns: The bucket.
    :raises ConfigError: If boto3 does not take what the variables say.
    :raises SettingMissingError: If AMAZON_BUCKET has no value.
    :raises MissingDependencyError: If boto3 is not installed.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    return AmazonBucket(get_handle(SERVICE))


def get_amazon_key(name: str) -> AmazonKey:
    """Return the key of that name in the bucket of the app in use.

    The server is not asked, and there need not be such an object.

    :param name: Name of the key: up to 1024 bytes as UTF-8, no control characters.
    :returns: The key.
    :raises ServiceRefusedError: If there can be no such name.
    :raises ConfigError: If boto3 does not take what the variables say.
    :raises SettingMissingError: If AMAZON_BUCKET has no value.
    :raises MissingDependencyError: If boto3 is not installed.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    return get_amazon_bucket().new_key(name)


def exists_amazon_key(name: str) -> bool:
    """Return whether the bucket of the app in use has an object.

    :param name: Name of the key, as :func:`get_amazon_key` takes it.
    :returns: Whether it has.
    :raises ServiceUnavailableError: If the server cannot be reached.
    :raises ServiceRefusedError: If the keys, the bucket or the name are not right.
    :raises ConfigError: If boto3 does not take what the variables say.
    :raises SettingMissingError: If AMAZON_BUCKET has no value.
    :raises MissingDependencyError: If boto3 is not installed.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    return get_amazon_key(name).exists()


def delete_amazon_key(name: str) -> None:
    """Delete an object of the app's bucket; one that is not there is no error.

    :param name: Name of the key, as :func:`get_amazon_key` takes it.
    :raises ServiceUnavailableError: If the server cannot be reached.
    :raises ServiceRefusedError: If the keys, the bucket or the name are not right.
    :raises ConfigError: If boto3 does not take what the variables say.
    :raises SettingMissingError: If AMAZON_BUCKET has no value.
    :raises MissingDependencyError: If boto3 is not installed.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    get_amazon_key(name).delete()


def clear_amazon_bucket() -> None:
    """Delete all objects of the app's bucket, however many, and keep the bucket.

    What others write meanwhile may stay.

    :raises ServiceUnavailableError: If the server cannot be reached; some of the
        objects may be gone.
    :raises ServiceRefusedError: If the keys or the bucket are not right, or may not
        be deleted.
    :raises ConfigError: If boto3 does not take what the variables say.
    :raises SettingMissingError: If AMAZON_BUCKET has no value.
    :raises MissingDependencyError: If boto3 is not installed.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    engine = get_handle(SERVICE).engine
    engine.delete(facts.name for facts in engine.scan(""))
