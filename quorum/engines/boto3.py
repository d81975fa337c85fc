"""Amazon S3, or a server that speaks its protocol."""

import concurrent.futures
import contextlib
import hashlib
import itertools
import operator
import re
import typing as t
from collections.abc import Iterable, Iterator

import boto3
import botocore.exceptions
from botocore.config import Config

from quorum.amazon import AmazonSettings
from quorum.errors import ServiceError, ServiceRefusedError, ServiceUnavailableError
from quorum.objects import CONTROLS, Facts
from quorum.parsers import mask_url

#: Size of a part; what is smaller goes up in one request.
_PART: t.Final = 12 * 1024 * 1024
_PARTS_AT_ONCE: t.Final = 3
_CHUNK: t.Final = 1024 * 1024
_TRIES: t.Final = 3
#: S3 takes a thousand, for which not every server is quick enough.
_BATCH: t.Final = 100

_UNUSABLE = (
    botocore.exceptions.NoCredentialsError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.ParamValidationError,
    botocore.exceptions.SSLError,
)

#: Of a connection that breaks while a body comes down.
_BROKEN = (
    botocore.exceptions.IncompleteReadError,
    botocore.exceptions.ReadTimeoutError,
    botocore.exceptions.ResponseStreamingError,
)

_REASONS: t.Final = {
    "400": "the server does not take the request; is AMAZON_REGION the bucket's?",
    "403": "the keys are not taken, or this is not allowed",
    "404": "there is no such key",
    "AccessDenied": "the keys are not taken, or this is not allowed",
    "InvalidAccessKeyId": "the keys are not taken",
    "NoSuchBucket": "there is no such bucket",
    "NoSuchKey": "there is no such key",
    "PreconditionFailed": "it was replaced while it was read",
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
    "SignatureDoesNotMatch": "the keys are not taken",
}

#: What passes although its status says that the client is to blame.
_MAY_PASS: t.Final = frozenset(
    {
        *("BadDigest", "IncompleteBody", "NoSuchUpload", "OperationAborted"),
        *("PreconditionFailed", "RequestTimeout", "SlowDown", "Throttling"),
        *("TooManyRequests", "XAmzContentSHA256Mismatch"),
    }
)

_OPERATIONS: t.Final = {
    "GET": "get_object",
    "PUT": "put_object",
    "HEAD": "head_object",
    "DELETE": "delete_object",
}


class AmazonServer:
    """boto3's client of an account.

    :param settings: The account, the bucket and the server.
    """

    def __init__(self, settings: AmazonSettings) -> None:
        self.bucket: str = settings.location
        config = Config(
            connect_timeout=settings.timeout,
            read_timeout=settings.timeout,
            retries={"mode": "standard", "total_max_attempts": _TRIES},
            signature_version="s3v4",
            # Not every server knows Amazon's newer checksums; all know the SHA-256
            # that is signed, for which an MD5 would only be more work.
            s3={"payload_signing_enabled": True},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
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
        host = self.client.meta.endpoint_url.partition("://")[2].rpartition("@")[2]
        self.address: str = f"{host}/{self.bucket}"
        self._seen = False

    def ping(self) -> None:
        """Ask for the bucket.

        :raises ServiceRefusedError: If the keys are not taken, or there is no bucket.
        :raises ServiceUnavailableError: If the server cannot be reached.
        """
        with self._explained(""):
            # Unlike that of head_bucket, its answer says what is wrong.
            self.client.list_objects_v2(Bucket=self.bucket, MaxKeys=1)
        self._seen = True

    def close(self) -> None:
        """Close every connection."""
        self.client.close()

    def find(self, name: str) -> Facts | None:
        """Return the facts of an object."""
        with self._explained(name):
            try:
                found = self.client.head_object(Bucket=self.bucket, Key=name)
            except botocore.exceptions.ClientError as error:
                if _status(error) != 404:
                    raise
                found = None
        # The answer to this question does not tell a missing bucket apart.
        if found is None and not self._seen:
            self.ping()
        self._seen = True
        return None if found is None else _facts(name, found)

    def read(self, name: str) -> tuple[Facts, Iterator[bytes]]:
        """Return the facts and the content of an object."""
        with self._explained(name):
            found = self.client.get_object(Bucket=self.bucket, Key=name)
        facts = _facts(name, found)
        # An ETag is not always a hash of what the client sees.
        odd = found.get("ServerSideEncryption", "AES256") != "AES256"
        plain = re.fullmatch(r'"([0-9a-f]{32})"', facts.etag)
        if odd or self.bucket.endswith("--x-s3"):
            plain = None
        return facts, self._read(facts, found["Body"], plain[1] if plain else "")

    def write(
        self, name: str, body: t.IO[bytes], content_type: str, metadata: dict[str, str]
    ) -> Facts:
        """Write an object, in parts if it is large."""
        place = {"Bucket": self.bucket, "Key": name}
        more = {"ContentType": content_type, "Metadata": metadata}
        first = _read_part(body)
        with self._explained(name):
            if len(first) < _PART:
                made = self.client.put_object(**place, **more, Body=first)
                size = len(first)
            else:
                made, size = self._write_parts(place, more, first, body)
        return Facts(name, size, made["ETag"], None, content_type, metadata)

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; one that is not there is no error.

        :param names: Their names.
        :raises ServiceRefusedError: If an object may not be deleted.
        """
        left = iter(names)
        while batch := list(itertools.islice(left, _BATCH)):
            together = [name for name in batch if not CONTROLS.search(name)]
            if len(together) > 1:
                self._delete_together(together)
            else:
                together = []
            for name in set(batch).difference(together):
                with self._explained(name):
                    self.client.delete_object(Bucket=self.bucket, Key=name)

    def scan(self, prefix: str) -> Iterator[Facts]:
        """Find objects, a page of a thousand at a time."""
        with self._explained(prefix):
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
                for item in page.get("Contents", ()):
                    found = (item["Key"], item["Size"], item["ETag"])
                    yield Facts(*found, item["LastModified"])

    def sign(self, name: str, method: str, seconds: int) -> str:
        """Return a URL that lets anybody do something with an object for a time."""
        with self._explained(name):
            url = self.client.generate_presigned_url(
                _OPERATIONS[method], {"Bucket": self.bucket, "Key": name}, seconds
            )
        return str(url)

    def _delete_together(self, names: list[str]) -> None:
        objects = {"Objects": [{"Key": name} for name in names], "Quiet": True}
        with self._explained(names[0]):
            done = self.client.delete_objects(Bucket=self.bucket, Delete=objects)
        for error in done.get("Errors", ()):
            reason = f"{error['Key']!r}: {error.get('Message') or error['Code']}"
            raise ServiceRefusedError("amazon", self.address, 0, reason)

    def _write_parts(
        self,
        place: dict[str, str],
        more: dict[str, t.Any],
        first: bytes,
        body: t.IO[bytes],
    ) -> tuple[dict[str, t.Any], int]:
        """Write an object in parts, a few at once; the server shows it at the end."""
        begun = self.client.create_multipart_upload(**place, **more)
        place = {**place, "UploadId": begun["UploadId"]}
        size, numbers = 0, itertools.count(1)
        parts: list[dict[str, t.Any]] = []
        waiting: dict[concurrent.futures.Future[t.Any], int] = {}

        def finish() -> None:
            for sent in concurrent.futures.wait(waiting, None, "FIRST_COMPLETED").done:
                number = waiting.pop(sent)
                parts.append({"PartNumber": number, "ETag": sent.result()["ETag"]})

        try:
            with concurrent.futures.ThreadPoolExecutor(_PARTS_AT_ONCE) as pool:
                content = first
                while content:
                    size += len(content)
                    number = next(numbers)
                    part = {**place, "PartNumber": number}
                    sent = pool.submit(self.client.upload_part, **part, Body=content)
                    waiting[sent] = number
                    del content, sent  # or a part stays in memory for longer
                    if len(waiting) == _PARTS_AT_ONCE:
                        finish()
                    content = _read_part(body)
                while waiting:
                    finish()
            parts.sort(key=operator.itemgetter("PartNumber"))
            uploaded = {"MultipartUpload": {"Parts": parts}}
            return self.client.complete_multipart_upload(**place, **uploaded), size
        except BaseException:
            with contextlib.suppress(
                botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError
            ):
                self.client.abort_multipart_upload(**place)
            raise

    def _read(self, facts: Facts, body: t.Any, known: str) -> Iterator[bytes]:
        """Read a body; when its connection breaks, the rest comes over another."""
        digest, done, tries = hashlib.md5(usedforsecurity=False), 0, 0
        while True:
            try:
                with contextlib.closing(body), self._explained(facts.name):
                    while chunk := body.read(_CHUNK):
                        done += len(chunk)
                        if known:
                            digest.update(chunk)
                        yield chunk
                break
            except ServiceUnavailableError as error:
                tries += 1
                if tries == _TRIES or not isinstance(error.__cause__, _BROKEN):
                    raise
            with self._explained(facts.name):
                body = self.client.get_object(
                    Bucket=self.bucket,
                    Key=facts.name,
                    Range=f"bytes={done}-",
                    IfMatch=facts.etag,
                )["Body"]
        # A server that knows no ranges sends the start again.
        if done != facts.size or (known and digest.hexdigest() != known):
            reason = f"{facts.name!r}: what arrived is not what was stored"
            raise ServiceUnavailableError("amazon", self.address, 0, reason)

    @contextlib.contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except (
            botocore.exceptions.BotoCoreError,
            botocore.exceptions.ClientError,
        ) as error:
            raise self._explain(error, name) from error

    def _explain(self, error: Exception, name: str) -> ServiceError:
        """Return the error of ours for one of boto3's."""
        kind: type[ServiceError] = ServiceUnavailableError
        if isinstance(error, botocore.exceptions.ClientError):
            told = error.response.get("Error", {})
            code = told.get("Code", "")
            status = _status(error)
            reason = _REASONS.get(code) or (
                f"the server answered {status} {code}: {told.get('Message', '')}"
            )
            if status < 500 and status != 429 and code not in _MAY_PASS:
                kind = ServiceRefusedError
        else:
            reason = mask_url(str(error))
            if isinstance(error, botocore.exceptions.NoCredentialsError):
                reason = "there are no keys to use"
            if isinstance(error, _UNUSABLE):
                kind = ServiceRefusedError
        what = f"{name!r}: " if name else ""
        return kind("amazon", self.address, 0, f"{what}{reason}")


def _status(error: botocore.exceptions.ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _facts(name: str, found: dict[str, t.Any]) -> Facts:
    facts = (name, found["ContentLength"], found["ETag"], found["LastModified"])
    metadata = {key.lower(): value for key, value in found["Metadata"].items()}
    return Facts(*facts, found.get("ContentType"), metadata)


def _read_part(body: t.IO[bytes]) -> bytes:
    """Read a part, or less at the end; a raw file or a pipe gives it in pieces."""
    pieces, left = [], _PART
    while left > 0 and (piece := body.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
