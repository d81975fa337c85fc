"""Amazon S3, or a server that speaks its protocol."""

import typing as t

import boto3
import botocore.exceptions
from botocore.config import Config

from quorum.amazon import AmazonSettings
from quorum.errors import ServiceRefusedError, ServiceUnavailableError


class AmazonServer:
    """boto3's client of an account.

    :param settings: The account, the bucket and the server.
    """

    def __init__(self, settings: AmazonSettings) -> None:
        self._bucket = settings.location
        config = Config(
            connect_timeout=settings.timeout,
            read_timeout=settings.timeout,
            retries={"mode": "standard", "total_max_attempts": 3},
        )
        try:
            session = boto3.Session(
                aws_access_key_id=settings.access_key,
                aws_secret_access_key=settings.secret_key,
                region_name=settings.region,
            )
            self.client: t.Any = session.client(
                "s3", endpoint_url=settings.endpoint, config=config
            )
        except botocore.exceptions.BotoCoreError as error:
            raise ServiceRefusedError("amazon", "", 0, str(error)) from error
        endpoint = self.client.meta.endpoint_url
        self.address: str = f"{endpoint.partition('://')[2]}/{self._bucket}"

    def ping(self) -> None:
        """Ask for the bucket.

        :raises ServiceRefusedError: If the keys are not taken, or there is no bucket.
        :raises ServiceUnavailableError: If the server cannot be reached.
        """
        place = ("amazon", self.address, 0)
        try:
            self.client.head_bucket(Bucket=self._bucket)
        except botocore.exceptions.ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status >= 500:
                raise ServiceUnavailableError(
                    *place, f"the server answered {status}"
                ) from error
            known = {403: "the keys are not taken", 404: "there is no such bucket"}
            reason = known.get(status, f"the server answered {status}")
            raise ServiceRefusedError(*place, reason) from error
        except (
            botocore.exceptions.NoCredentialsError,
            botocore.exceptions.PartialCredentialsError,
        ) as error:
            raise ServiceRefusedError(*place, "there are no keys to use") from error
        except botocore.exceptions.ParamValidationError as error:
            raise ServiceRefusedError(*place, str(error)) from error
        except botocore.exceptions.BotoCoreError as error:
            raise ServiceUnavailableError(*place, str(error)) from error

    def close(self) -> None:
        """Close every connection."""
        self.client.close()
