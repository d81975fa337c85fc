"""Amazon S3: where the app in use keeps its objects."""

import typing as t
from typing import TYPE_CHECKING

from quorum import parsers
from quorum.config import ServiceSettings, Variable, variable
from quorum.service import Engine, Service
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
        parsers.url("https", "http"),
        default=None,
        since="0.2.0",
        help="URL of the server to use in place of Amazon's.",
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


class Amazon(Engine, t.Protocol):
    """What an engine of Amazon S3 offers."""

    client: "BaseClient"


SERVICE: t.Final[Service[AmazonSettings, Amazon]] = Service(
    "amazon",
    AmazonSettings,
    {
        "https": "quorum.engines.boto3:AmazonServer",
        "http": "quorum.engines.boto3:AmazonServer",
    },
)


def get_amazon() -> "BaseClient":
    """Return boto3's S3 client of the app in use.

    Threads share it, a process that was forked off has its own, and it connects when
    it is used. :func:`unload` closes it.

    :returns: The client.
    :raises SettingMissingError: If AMAZON_BUCKET has no value.
    :raises MissingDependencyError: If boto3 is not installed.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    return get_handle(SERVICE).engine.client
