"""What is in a session: read when it is looked at, compared when it is saved."""

import logging
import typing as t
from collections.abc import Callable, Iterator

from flask.sessions import SessionMixin

from quorum.errors import SessionValueError

_LOGGER = logging.getLogger("quorum.sessions")


class Codec(t.Protocol):
    """Makes bytes of values."""

    def encode(self, value: object) -> bytes:
        """Return what Redis keeps of a value."""
        ...

    def decode(self, raw: bytes) -> t.Any:
        """Return the value that was encoded."""

    def differs(self, raw: bytes, stored: bytes) -> bool:
        """Tell whether an encoded value is not the same as a stored one."""
        ...


class Changes(t.NamedTuple):
    """What differs from what is stored."""

    #: The encoded values that are new.
    changed: dict[str, bytes]
    removed: list[str]
    #: All the encoded values.
    values: dict[str, bytes]


#: Stands for a value that was not decoded yet.
_UNREAD: t.Final = object()


class RedisSession(SessionMixin):
    """What Flask's ``session`` stands for; Redis is asked when it is looked at.

    :param read: Returns the stored values.
    :param codec: Encodes and decodes them.
    """

    accessed: bool = False
    modified: bool = False

    def __init__(
        self, read: Callable[["RedisSession"], dict[str, bytes]], codec: Codec
    ) -> None:
        self._read = read
        self._codec = codec
        self._error: Exception | None = None
        self._values: dict[str, t.Any] = {}
        #: The values as Redis has them.
        self.stored: dict[str, bytes] = {}
        self.opened: bool = False
        self.saved = False
        #: Its other fields.
        self.kept: dict[bytes, bytes] = {}
        self.version = b""
        #: Its Redis key.
        self.key = ""
        #: Empty if there is no stored session.
        self.identifier: str = ""
        #: Whether the cookie it came in is signed with the secret key of today.
        self.current = False
        #: The identifier of the session that clear() has ended.
        self.ended: str = ""
        self.rotated: bool = False
        #: The Redis key of the user to bind it to.
        self.user: str = ""

    def open(self) -> dict[str, t.Any]:
        """Return the values, not all of them decoded; the first call reads them.

        :returns: The values.
        :raises ServiceUnavailableError: If Redis cannot be reached.
        """
        self.accessed = True
        if self._error is not None:
            raise self._error  # at once: the page for an error may look here too
        if not self.opened:
            try:
                self.stored = self._read(self)
            except Exception as error:
                self._error = error
                raise
            self._values = dict.fromkeys(self.stored, _UNREAD)
            self.opened = True
        return self._values

    def _is_new(self) -> bool:
        self.open()
        return not self.identifier

    # The class that Flask declares has a plain attribute.
    new: bool = t.cast("bool", property(_is_new, doc="Whether Redis has none yet."))

    def __getitem__(self, key: str) -> t.Any:
        values = self.open()
        value = values[key]
        if value is _UNREAD:
            try:
                value = self._codec.decode(self.stored[key])
            except Exception as error:  # whatever a tag of the app's own raises
                kind = type(error).__name__
                _LOGGER.warning(
                    "The session's %r cannot be read (%s), and is dropped.", key, kind
                )
                del values[key]
                raise KeyError(key) from error
            values[key] = value
        return value

    def __setitem__(self, key: str, value: t.Any) -> None:
        self.open()[key] = value
        self.modified = True

    def __delitem__(self, key: str) -> None:
        del self.open()[key]
        self.modified = True

    def __iter__(self) -> Iterator[str]:
        return iter([key for key in [*self.open()] if key in self])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def clear(self) -> None:
        """End the session; what is put into it now begins another one."""
        self.open().clear()
        self.ended = self.identifier or self.ended
        self.identifier = self.user = ""
        self.stored = {}
        self.modified = True

    def changes(self, limit: int) -> Changes:
        """Return what differs from what is stored, inside of values too.

        :param limit: Most bytes of all the values.
        :returns: The values that are to be stored, and the keys to be removed.
        :raises SessionValueError: If a value cannot be stored, or they are too large.
        """
        changed: dict[str, bytes] = {}
        for key, value in self._values.items():
            if value is _UNREAD:
                continue
            try:
                raw = self._codec.encode(value)
                key.encode()
            except Exception as error:
                raise SessionValueError(key, str(error)) from error
            stored = self.stored.get(key)
            if stored is None or self._codec.differs(raw, stored):
                changed[key] = raw
        removed = [key for key in self.stored if key not in self._values]
        values = self.stored | changed
        for key in removed:
            del values[key]
        if changed:
            size = sum(map(len, values.values()))
            if size > limit:
                largest = max(changed, key=lambda key: len(changed[key]))
                reason = f"with it there are {size} bytes, SESSION_LIMIT is {limit}"
                raise SessionValueError(largest, reason)
        return Changes(changed, removed, values)
