"""The bucket and the keys of Amazon S3, and what an engine does for them."""

import contextlib
import datetime
import io
import mimetypes
import os
import pathlib
import re
import string
import typing as t
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from quorum.errors import ServiceRefusedError
from quorum.service import Engine, Handle

if TYPE_CHECKING:
    from botocore.client import BaseClient


class Facts(t.NamedTuple):
    """What an engine knows of an object."""

    name: str
    size: int
    etag: str
    last_modified: datetime.datetime | None = None
    #: None where it is not told, as in a listing.
    content_type: str | None = None
    metadata: Mapping[str, str] = {}


class Amazon(Engine, t.Protocol):
    """What an engine of Amazon S3 offers; names and metadata come checked."""

    bucket: str

    @property
    def client(self) -> "BaseClient":
        """boto3's client."""
        ...

    def find(self, name: str) -> Facts | None:
        """Return the facts of an object, None if there is no such object."""
        ...

    def read(self, name: str) -> tuple[Facts, Iterator[bytes]]:
        """Return the facts of an object that is there, and its content in chunks."""
        ...

    def write(
        self, name: str, body: t.IO[bytes], content_type: str, metadata: dict[str, str]
    ) -> Facts:
        """Write an object, which nobody sees before it is complete."""
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; one that is not there is no error."""

    def scan(self, prefix: str) -> Iterator[Facts]:
        """Find the objects whose names have a prefix, in the order of the names."""
        ...

    def sign(self, name: str, method: str, seconds: int) -> str:
        """Return a URL that lets anybody do something with an object for a time."""
        ...


_LONGEST_NAME: t.Final = 1024
_MOST_METADATA: t.Final = 2048
_LONGEST_URL_LIFE: t.Final = 7 * 24 * 60 * 60

#: Characters that the XML of a listing cannot carry.
CONTROLS: t.Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_TOKEN: t.Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_VISIBLE: t.Final = string.ascii_letters + string.digits + string.punctuation
_HEADER: t.Final = re.compile(r"[!-~]([ -~]*[!-~])?")


class AmazonKey:
    """An object of the app's bucket, by its name; it need not exist.

    What is known of it is in the attributes, from the last call that saw it. Set
    ``content_type`` and ``metadata`` before the contents to have them kept.

    :param handle: The service.
    :param name: Its name: up to 1024 bytes as UTF-8, without control characters.
    :raises ServiceRefusedError: If there can be no such name.
    """

    def __init__(self, handle: t.Any, name: str) -> None:
        self._handle: Handle[t.Any, Amazon] = handle
        self.name = name
        #: Its media type; if None, it is guessed from the name of the file.
        self.content_type: str | None = None
        #: Texts that are kept with it, by names that are lower-cased.
        self.metadata: dict[str, str] = {}
        #: Number of bytes.
        self.size: int | None = None
        #: What changes with the content, in quotes as S3 has it.
        self.etag: str | None = None
        #: When it was written.
        self.last_modified: datetime.datetime | None = None
        if not name or CONTROLS.search(name):
            self._refuse("a name has characters, and none of them controls")
        if len(name.encode()) > _LONGEST_NAME:
            self._refuse(f"the name has more than {_LONGEST_NAME} bytes")

    def __repr__(self) -> str:
        return f"<AmazonKey {self.name!r}>"

    def exists(self) -> bool:
        """Return whether there is such an object.

        :returns: Whether; if so, the attributes tell about it.
        :raises ServiceUnavailableError: If the server cannot be reached.
        :raises ServiceRefusedError: If the keys or the bucket are not right.
        """
        facts = self._handle.engine.find(self.name)
        if facts is not None:
            self._learn(facts)
        return facts is not None

    def delete(self) -> None:
        """Delete the object; if there is none, that is no error.

        :raises ServiceUnavailableError: If the server cannot be reached.
        :raises ServiceRefusedError: If the keys or the bucket are not right.
        """
        self._handle.engine.delete([self.name])

    def set_contents_from_string(self, data: str | bytes) -> int:
        """Write the object.

        :param data: The content; text is written as UTF-8.
        :returns: Number of bytes.
        :raises ServiceUnavailableError: If the server cannot be reached. The object
            is as it was, unless only the answer was lost.
        :raises ServiceRefusedError: If the keys or the bucket are not right, or the
            metadata cannot be kept.
        """
        content = data.encode() if isinstance(data, str) else data
        return self.set_contents_from_file(io.BytesIO(content))

    def set_contents_from_filename(self, filename: str | os.PathLike[str]) -> int:
        """Write the object from a file.

        :param filename: Where the content is.
        :returns: Number of bytes.
        :raises ServiceUnavailableError: As for a string.
        :raises ServiceRefusedError: As for a string.
        """
        with pathlib.Path(filename).open("rb") as file:
            return self.set_contents_from_file(file)

    def set_contents_from_file(self, fp: t.IO[bytes]) -> int:
        """Write the object from an open file, from its position to its end.

        Bodies over 12 MiB go up in parts of that size, at most 10,000 of them, a few
        at a time; so much memory is used, and not more.

        :param fp: Where the content is; it needs ``read`` only, and stays open.
        :returns: Number of bytes.
        :raises ServiceUnavailableError: As for a string.
        :raises ServiceRefusedError: As for a string.
        """
        path = getattr(fp, "name", None)
        guessed = mimetypes.guess_type(path)[0] if isinstance(path, str) else None
        kind = self.content_type or guessed or "application/octet-stream"
        if not _HEADER.fullmatch(kind):
            self._refuse("the content type is not of visible ASCII characters")
        metadata = self._encode_metadata()
        self._learn(self._handle.engine.write(self.name, fp, kind, metadata))
        return self.size or 0

    @t.overload
    def get_contents_as_string(self, encoding: None = None) -> bytes: ...
    @t.overload
    def get_contents_as_string(self, encoding: str) -> str: ...
    def get_contents_as_string(self, encoding: str | None = None) -> bytes | str:
        """Return the content.

        :param encoding: What to decode it by; without, it is bytes.
        :returns: The content.
        :raises ServiceUnavailableError: If the server cannot be reached, or what
            arrived is not what was stored.
        :raises ServiceRefusedError: If there is no such object, or the keys or the
            bucket are not right.
        """
        facts, chunks = self._handle.engine.read(self.name)
        content = b"".join(chunks)
        self._learn(facts)
        return content if encoding is None else content.decode(encoding)

    def get_contents_to_file(self, fp: t.IO[bytes]) -> None:
        """Write the content to an open file, in chunks.

        A connection that breaks is replaced, and the rest is fetched. After an error
        the file may have a part of the content.

        :param fp: Where it goes; it needs ``write`` only, and stays open.
        :raises ServiceUnavailableError: As for a string.
        :raises ServiceRefusedError: As for a string.
        """
        facts, chunks = self._handle.engine.read(self.name)
        with contextlib.closing(t.cast(t.Any, chunks)):
            for chunk in chunks:
                fp.write(chunk)
        self._learn(facts)

    def get_contents_to_filename(self, filename: str | os.PathLike[str]) -> None:
        """Write the content to a file, which is replaced when all has arrived.

        :param filename: Where it goes; after an error it is as it was.
        :raises ServiceUnavailableError: As for a string.
        :raises ServiceRefusedError: As for a string.
        """
        with replacing(pathlib.Path(filename)) as file:
            self.get_contents_to_file(file)

    def generate_url(self, expires_in: int, method: str = "GET") -> str:
        """Return a URL with which anybody can use the object for a time.

        :param expires_in: Seconds that it is good for, at most a week of them.
        :param method: What it is good for: GET, PUT, HEAD or DELETE.
        :returns: The URL; whoever has it needs no keys.
        :raises ServiceRefusedError: If the time or the method is none that S3 has, or
            there are no keys to sign with.
        :raises UnsupportedError: If the objects are in a folder.
        """
        if type(expires_in) is not int or not 0 < expires_in <= _LONGEST_URL_LIFE:
            self._refuse("a URL is good for 1 to 604800 seconds, a whole number")
        if method not in ("GET", "PUT", "HEAD", "DELETE"):
            self._refuse("a URL is good for GET, PUT, HEAD or DELETE")
        return self._handle.engine.sign(self.name, method, expires_in)

    def _learn(self, facts: Facts) -> None:
        self.size, self.etag = facts.size, facts.etag
        self.last_modified = facts.last_modified
        self.content_type = facts.content_type
        unquote = urllib.parse.unquote
        self.metadata = {k: unquote(v) for k, v in facts.metadata.items()}

    def _encode_metadata(self) -> dict[str, str]:
        """Return the metadata as boto writes it: what is not visible ASCII in percents.

        :returns: Names and values that a header can carry.
        """
        encoded = {}
        for name, value in self.metadata.items():
            if not all(isinstance(each, str) for each in (name, value)):
                self._refuse(f"the metadata {name!r} are not text")
            try:
                text = urllib.parse.quote(value, safe=_VISIBLE.replace("%", ""))
            except UnicodeEncodeError:
                self._refuse(f"the metadata '{name}' cannot be encoded")
            encoded[name.lower()] = text
            if not _TOKEN.fullmatch(name.lower()):
                self._refuse(f"metadata cannot have the name {name!r}")
        if len(encoded) < len(self.metadata):
            self._refuse("the names of the metadata differ in their case only")
        if sum(len(k) + len(v) for k, v in encoded.items()) > _MOST_METADATA:
            self._refuse(f"the metadata have more than {_MOST_METADATA} bytes")
        return encoded

    def _refuse(self, reason: str) -> t.NoReturn:
        place = ("amazon", self._handle.engine.address, 0)
        raise ServiceRefusedError(*place, f"{self.name[:80]!r}: {reason}")


class AmazonBucket:
    """The app's bucket.

    :param handle: The service.
    """

    def __init__(self, handle: t.Any) -> None:
        self._handle: Handle[t.Any, Amazon] = handle
        #: Its name.
        self.name: str = handle.engine.bucket

    def __repr__(self) -> str:
        return f"<AmazonBucket {self.name!r}>"

    def new_key(self, name: str) -> AmazonKey:
        """Return the key of that name, whether there is an object or not.

        :param name: Name of the key.
        :returns: The key; nothing is known of it yet.
        :raises ServiceRefusedError: If there can be no such name.
        """
        return AmazonKey(self._handle, name)

    def get_key(self, name: str) -> AmazonKey | None:
        """Return the key of an object that is there.

        :param name: Name of the key.
        :returns: The key, with all that is known of it; None if there is no object.
        :raises ServiceUnavailableError: If the server cannot be reached.
        :raises ServiceRefusedError: If the keys or the bucket are not right.
        """
        key = self.new_key(name)
        return key if key.exists() else None

    def delete_key(self, name: str) -> None:
        """Delete an object; if there is none, that is no error.

        :param name: Name of the key.
        :raises ServiceUnavailableError: If the server cannot be reached.
        :raises ServiceRefusedError: If the keys or the bucket are not right.
        """
        self.new_key(name).delete()

    def list(self, prefix: str = "") -> Iterator[AmazonKey]:
        """Find objects, however many, in the order of their names as UTF-8.

        :param prefix: How their names start.
        :yields: Their keys, which are fetched as they are asked for; a listing does
            not tell content types and metadata.
        :raises ServiceUnavailableError: If the server cannot be reached.
        :raises ServiceRefusedError: If the keys or the bucket are not right.
        """
        for facts in self._handle.engine.scan(prefix):
            key = AmazonKey.__new__(AmazonKey)  # a name of a server is not checked
            vars(key).update(_handle=self._handle, name=facts.name)
            key._learn(facts)
            yield key


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[t.IO[bytes]]:
    """Open a file that takes the place of another when all of it is written.

    :param path: The other; after an error it is as it was.
    :yields: The file.
    """
    unfinished = path.with_name(f".{os.urandom(8).hex()}.part")
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
