"""The values of a session as bytes: MessagePack, and Flask's tagged JSON for the rest.

The first byte tells which. A value that is made of JSON's types alone is packed as it
is; within others, what MessagePack does not keep exactly is tagged JSON in there; what
cannot be packed at all is tagged JSON as a whole.
"""

import json
import typing as t

import ormsgpack
from flask.sessions import session_json_serializer

_PLAIN: t.Final = b"\x01"
_MIXED: t.Final = b"\x02"

#: Nothing that would come back as another type is packed.
_EXACT: t.Final = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)
_TAGS: t.Final = len(session_json_serializer.default_tags)


def _tag(value: object) -> bytes:
    # Not its dumps(), which asks the app how to write JSON if there is one.
    tagged = session_json_serializer.tag(value)
    return json.dumps(tagged, separators=(",", ":")).encode()


def _untag(raw: bytes) -> t.Any:
    return json.loads(raw, object_hook=session_json_serializer.untag)


def _pack_tagged(value: object) -> ormsgpack.Ext:
    return ormsgpack.Ext(0, _tag(value))


def _unpack_tagged(kind: int, raw: bytes) -> t.Any:
    return _untag(raw)


class Packing:
    """Encodes and decodes; an app context makes no difference."""

    def encode(self, value: object) -> bytes:
        """Return what Redis keeps of a value."""
        # A tag of the app's own may be for lists.
        if len(session_json_serializer.order) != _TAGS:
            return _tag(value)
        try:
            return _PLAIN + ormsgpack.packb(value, option=_EXACT)
        except TypeError:
            pass
        try:
            return _MIXED + ormsgpack.packb(value, _pack_tagged, _EXACT)
        except TypeError:
            return _tag(value)

    def decode(self, raw: bytes) -> t.Any:
        """Return the value that :meth:`encode` was given."""
        if raw[:1] in (_PLAIN, _MIXED):
            return ormsgpack.unpackb(memoryview(raw)[1:], ext_hook=_unpack_tagged)
        return _untag(raw)

    def differs(self, raw: bytes, stored: bytes) -> bool:
        """Tell whether two encoded values are not the same."""
        if raw == stored:
            return False
        if stored.startswith(_PLAIN):
            return True
        try:
            return raw != self.encode(self.decode(stored))
        except Exception:  # whatever a tag of the app's own raises
            return True
