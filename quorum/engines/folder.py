"""A folder that keeps objects as Amazon S3 does, for tests and for a first try.

Each object is a file whose name is a hash of the object's, so that no name can lead
anywhere else, be too long for a file system or differ in its case only. The file has
the content, then the facts as JSON, then the length of the JSON and a signature.
"""

import contextlib
import datetime
import hashlib
import json
import os
import pathlib
import re
import struct
import typing as t
import urllib.parse
from collections.abc import Iterable, Iterator

from quorum.amazon import AmazonSettings
from quorum.errors import (
    ConfigError,
    Problem,
    ServiceRefusedError,
    ServiceUnavailableError,
    UnsupportedError,
)
from quorum.objects import Facts, replacing

if t.TYPE_CHECKING:
    from botocore.client import BaseClient

_CHUNK: t.Final = 1024 * 1024
_END: t.Final = struct.Struct(">Q8s")
_SIGNATURE: t.Final = b"quorum-1"


class AmazonFolder:
    """Objects in a folder; several processes may use it at once.

    :param settings: The folder and the bucket, which is a folder in it.
    :raises ConfigError: If these cannot be names of folders.
    :raises ServiceRefusedError: If the folder is not there and cannot be made.
    """

    def __init__(self, settings: AmazonSettings) -> None:
        parts = urllib.parse.urlsplit(settings.endpoint or "")
        self.bucket: str = settings.location
        if not parts.path or parts.netloc or parts.query or parts.fragment:
            fault = "it is not file: and a folder, as in file:objects."
            raise ConfigError(Problem("AMAZON_ENDPOINT", "amazon", fault))
        if not re.fullmatch(r"(?!\.+$)[\w.-]{1,255}", self.bucket, re.ASCII):
            fault = f"{self.bucket!r} is no name of a bucket."
            raise ConfigError(Problem("AMAZON_BUCKET", "amazon", fault))
        self._folder = pathlib.Path(urllib.parse.unquote(parts.path), self.bucket)
        self.address: str = f"file:{self._folder}"
        with self._explained("the folder"):
            self._folder.mkdir(parents=True, exist_ok=True)

    @property
    def client(self) -> "BaseClient":
        """Not there.

        :raises UnsupportedError: Always.
        """
        hint = "AMAZON_ENDPOINT names a folder; use get_amazon_key()."
        raise UnsupportedError("boto3's client", hint)

    def ping(self) -> None:
        """Look whether the folder can be used.

        :raises ServiceRefusedError: If not.
        """
        if not os.access(self._folder, os.R_OK | os.W_OK | os.X_OK):
            reason = "the folder is not there, or may not be used"
            raise ServiceRefusedError("amazon", self.address, 0, reason)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def find(self, name: str) -> Facts | None:
        """Return the facts of an object."""
        with self._explained(name):
            found = _open(self._path(name))
        if found is None:
            return None
        found[1].close()
        return found[0]

    def read(self, name: str) -> tuple[Facts, Iterator[bytes]]:
        """Return the facts and the content of an object."""
        with self._explained(name):
            found = _open(self._path(name))
        if found is None:
            reason = f"{name!r}: there is no such key"
            raise ServiceRefusedError("amazon", self.address, 0, reason)
        return found[0], self._read(*found)

    def write(
        self, name: str, body: t.IO[bytes], content_type: str, metadata: dict[str, str]
    ) -> Facts:
        """Write an object, in one step for those who look."""
        digest, size = hashlib.md5(usedforsecurity=False), 0
        with self._explained(name), replacing(self._path(name)) as file:
            while chunk := body.read(_CHUNK):
                size += file.write(chunk)
                digest.update(chunk)
            etag = f'"{digest.hexdigest()}"'
            facts = Facts(name, size, etag, None, content_type, metadata)
            text = json.dumps(facts).encode()
            file.write(text + _END.pack(len(text), _SIGNATURE))
        return facts

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; one that is not there is no error."""
        for name in names:
            with self._explained(name):
                self._path(name).unlink(missing_ok=True)

    def scan(self, prefix: str) -> Iterator[Facts]:
        """Find objects; the facts of all of them are read before the first is given."""
        known = []
        with self._explained(prefix):
            for path in self._folder.iterdir():
                found = _open(path)
                if found is not None:
                    found[1].close()
                    known.append(found[0])
        chosen = (facts for facts in known if facts.name.startswith(prefix))
        yield from sorted(chosen, key=lambda facts: facts.name.encode())

    def sign(self, name: str, method: str, seconds: int) -> str:
        """Raise an ``UnsupportedError``: nobody serves the folder."""
        hint = "AMAZON_ENDPOINT names a folder, which nobody serves."
        raise UnsupportedError("A URL of an object", hint)

    def _path(self, name: str) -> pathlib.Path:
        return self._folder / _hash(name)

    def _read(self, facts: Facts, file: t.IO[bytes]) -> Iterator[bytes]:
        left = facts.size
        with file, self._explained(facts.name):
            while chunk := file.read(min(left, _CHUNK)):
                left -= len(chunk)
                yield chunk

    @contextlib.contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = ("amazon", self.address, 0)
            reason = f"{name!r}: {error.strerror or error}"
            if isinstance(error, (PermissionError, NotADirectoryError)):
                raise ServiceRefusedError(*place, reason) from error
            raise ServiceUnavailableError(*place, reason) from error


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _open(path: pathlib.Path) -> tuple[Facts, t.IO[bytes]] | None:
    """Open an object; it can be read to its end when it is replaced meanwhile.

    :param path: Its file.
    :returns: Its facts and its file; None if there is no object.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    flags |= getattr(os, "O_NONBLOCK", 0)  # a pipe would wait for a writer
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except (FileNotFoundError, IsADirectoryError):
        return None
    except OSError:
        if path.is_symlink():
            return None  # nothing that is written here is one
        raise
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END.size))
        length, signature = _END.unpack(file.read().rjust(_END.size))
        if signature != _SIGNATURE:
            raise ValueError(signature)
        file.seek(size - _END.size - length)
        facts = Facts(*json.loads(file.read(length)))
        if path.name != _hash(facts.name) or facts.size != size - _END.size - length:
            raise ValueError(path.name)  # a copy, or a part
        written = os.fstat(file.fileno()).st_mtime
    except (AttributeError, OSError, TypeError, ValueError):
        file.close()
        return None  # a file of somebody else
    except BaseException:
        file.close()
        raise
    file.seek(0)
    when = datetime.datetime.fromtimestamp(written, datetime.UTC)
    return facts._replace(last_modified=when), file
