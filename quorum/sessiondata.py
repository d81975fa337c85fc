"""What is in a session: read when it is looked at, compared when it is saved."""

import json
import logging
import marshal
import typing as t
from collections.abc import Callable, Iterator

from flask.sessions import SessionMixin, session_json_serializer

from quorum.errors import SessionValueError

_LOGGER = logging.getLogger("quorum.sessions")


_PLAIN: t.Final = frozenset({str, int, float, bool, type(None)})
_TAGS: t.Final = len(session_json_serializer.default_tags)


def _tag(value: t.Any) -> t.Any:
    """Tag as Flask does, but several times as fast."""
    kind = type(value)
    if kind is list:
        return [item if type(item) in _PLAIN else _tag(item) for item in value]
    if kind is dict and len(value) != 1:
        return {
            key: item if type(item) in _PLAIN else _tag(item)
            for key, item in value.items()
        }
    return session_json_serializer.tag(value)


def encode(value: object) -> bytes:
    """Return what Redis keeps of a value; an app context makes no difference.

    :param value: The value.
    :returns: Flask's tagged JSON.
    """
    # A tag of the app's own may be for lists.
    own = len(session_json_serializer.order) != _TAGS
    tagged = session_json_serializer.tag(value) if own else _tag(value)
    return json.dumps(tagged, separators=(",", ":")).encode()


def decode(raw: bytes) -> t.Any:
    """Return the value that :func:`encode` was given.

    :param raw: What Redis keeps of it.
    :returns: The value.
    """
    return json.loads(raw, object_hook=session_json_serializer.untag)


def split(stored: bytes) -> dict[bytes, bytes]:
    """Return the fields of a stored session.

    :param stored: For each field two lengths, its name and its value.
    :returns: The values by the names.
    :raises ValueError: If it is not one.
    """
    fields: dict[bytes, bytes] = {}
    place = 0
    while place < len(stored):
        first = stored.index(b" ", place)
        start = stored.index(b" ", first + 1) + 1
        middle = start + int(stored[place:first])
        place = middle + int(stored[first : start - 1])
        if not start <= middle <= place <= len(stored):
            raise ValueError
        fields[stored[start:middle]] = stored[middle:place]
    return fields


def _mark(value: object) -> bytes:
    """Return bytes that change when the value does; cheaper than to encode it."""
    try:
        return marshal.dumps(
            t.cast("t.Any", value), 2
        )  # newer versions tell equal values apart
    except ValueError:
        return encode(value)


#: Stands for a value that was not decoded yet.
_UNREAD: t.Final = object()


class RedisSession(SessionMixin):
    """What Flask's ``session`` stands for; Redis is asked when it is looked at.

    :param read: Returns the stored values.
    """

    modified = False

    def __init__(self, read: Callable[["RedisSession"], dict[str, bytes]]) -> None:
        self._read = read
        self._error: Exception | None = None
        self._values: dict[str, t.Any] = {}
        self._stored: dict[str, bytes] = {}
        self._marks: dict[str, bytes] = {}
        self.opened = False
        self.saved = False
        #: Empty if there is no stored session.
        self.identifier = ""
        #: Whether the cookie it came in is signed with the secret key of today.
        self.current = False
        #: The identifier of the session that clear() has ended.
        self.ended = ""
        self.rotated = False
        #: The Redis key of the user to bind it to.
        self.user = ""

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
                self._stored = self._read(self)
            except Exception as error:
                self._error = error
                raise
            self._values = dict.fromkeys(self._stored, _UNREAD)
            self.opened = True
        return self._values

    def _is_new(self) -> bool:
        self.open()
        return not self.identifier

    # The class that Flask declares has a plain attribute.
    new = t.cast("bool", property(_is_new, doc="Whether Redis has none yet."))

    def __getitem__(self, key: str) -> t.Any:
        values = self.open()
        value = values[key]
        if value is _UNREAD:
            try:
                value = decode(self._stored[key])
                self._marks[key] = _mark(value)
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
        self._marks.pop(key, None)
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
        self.rotated = False
        self._stored = {}
        self.modified = True

    def changes(self, limit: int) -> tuple[dict[str, bytes], list[str]]:
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
                if key in self._marks and self._marks[key] == _mark(value):
                    continue
                raw = encode(value)
                key.encode()
            except Exception as error:
                raise SessionValueError(key, str(error)) from error
            if raw != self._stored.get(key):
                changed[key] = raw
        removed = [key for key in self._stored if key not in self._values]
        if changed:
            sizes = {key: len(raw) for key, raw in (self._stored | changed).items()}
            size = sum(sizes.values()) - sum(map(sizes.__getitem__, removed))
            if size > limit:
                largest = max(changed, key=sizes.__getitem__)
                reason = f"with it there are {size} bytes, SESSION_LIMIT is {limit}"
                raise SessionValueError(largest, reason)
        return changed, removed
