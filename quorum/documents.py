"""What a document may hold, and how its values become those of MongoDB and back."""

import datetime as dt
import decimal
import enum
import typing as t
from collections.abc import Iterable, Iterator, Mapping

import bson
import bson.errors
import pydantic
from bson.codec_options import DatetimeConversion, TypeDecoder, TypeRegistry
from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

#: The most that a server takes in one document, in bytes, and how deep it may nest.
_LARGEST: t.Final = 16 * 1024 * 1024
DEEPEST: t.Final = 100

Document: t.TypeAlias = dict[str, t.Any]
Place: t.TypeAlias = tuple[str | int, ...]

#: Types whose values have nothing in them, and are the same when they are equal.
SIMPLE: t.Final = frozenset({str, int, bool, bytes, bson.ObjectId, type(None)})

#: What is wrong with a value: where, what, and the value.
Fault: t.TypeAlias = tuple[Place, str, object]


class _DecimalDecoder(TypeDecoder):
    @property
    def bson_type(self) -> type[bson.Decimal128]:
        return bson.Decimal128

    def transform_bson(self, value: bson.Decimal128) -> decimal.Decimal:
        return value.to_decimal()


def _to_bson(value: object) -> object:
    """Return what stands for a value of a type that BSON has not."""
    if isinstance(value, decimal.Decimal):
        return bson.Decimal128(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, set | frozenset):
        # The order of a set is another one in each process.
        return sorted(value, key=lambda item: _encode({"": item}))
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    raise TypeError(f"a {type(value).__name__} is no type that MongoDB has")


_WRITE: t.Final[bson.CodecOptions[Document]] = bson.CodecOptions(
    uuid_representation=bson.UuidRepresentation.STANDARD,
    type_registry=TypeRegistry(fallback_encoder=_to_bson),
)

#: Leaves what the two engines have no other types for as the types of BSON.
_PLAIN: t.Final[bson.CodecOptions[Document]] = bson.CodecOptions(
    tz_aware=True, uuid_representation=bson.UuidRepresentation.STANDARD
)

#: How stored documents are read: times are aware, decimals are Python's.
READ: t.Final[bson.CodecOptions[Document]] = bson.CodecOptions(
    tz_aware=True,
    tzinfo=dt.UTC,
    uuid_representation=bson.UuidRepresentation.STANDARD,
    type_registry=TypeRegistry([_DecimalDecoder()]),
    # A time before year 1 or after 9999 must spoil its own document only.
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)

#: The same but for decimals: with decoders of types, PyMongo is half as fast.
READ_FAST: t.Final[bson.CodecOptions[Document]] = READ.with_options(
    type_registry=TypeRegistry()
)


def is_hiding(model: type[pydantic.BaseModel]) -> bool:
    """Return whether the errors of a model may not show values."""
    return model.model_config.get("hide_input_in_errors", False)


def refuse(title: str, faults: Iterable[Fault], hide: bool = False) -> ValidationError:
    """Return the error for values that must not be sent.

    :param title: Name of the model.
    :param faults: What is wrong, one entry for each value.
    :param hide: Whether its text does not show the values.
    :returns: The error, as pydantic itself would raise it.
    """
    details: list[InitErrorDetails] = []
    for place, text, value in faults:
        said = text.replace("{", "(").replace("}", ")")
        kind = PydanticCustomError("not_storable", t.cast(t.Any, said))
        details.append({"type": kind, "loc": place, "input": value})
    return ValidationError.from_exception_data(title, details, hide_input=hide)


def to_plain(title: str, values: Mapping[str, object], hide: bool = False) -> Document:
    """Return the values as a server would hand them back, or refuse them.

    :param title: Name of the model, for the error.
    :param values: The values by the names of their fields.
    :param hide: Whether the text of the error does not show the values.
    :returns: A copy, of BSON's own types only.
    :raises ValidationError: If a server would not take one, or would take it for an
        operator; it has an entry for each of them.
    """
    faults = [
        fault
        for key, value in values.items()
        if type(value) not in SIMPLE
        for fault in _find_faults((key,), value)
    ]
    if not faults:
        try:
            return bson.decode(_encode(values), _PLAIN)
        except (_NotStorableError, bson.errors.InvalidBSON):
            faults = [fault for key in values for fault in _try(key, values[key])]
            faults = faults or [((), f"it is larger than {_LARGEST} bytes", "…")]
    raise refuse(title, faults, hide)


def to_read(document: Document) -> Document:
    """Return a plain document as a server's would have been read."""
    return bson.decode(bson.encode(document, codec_options=_WRITE), READ)


def is_same(first: object, second: object) -> bool:
    """Say whether two plain values are stored alike: 1 is neither 1.0 nor True."""
    if type(first) is type(second) and type(first) in SIMPLE:
        return first == second
    stored = [
        bson.encode({"": value}, codec_options=_WRITE) for value in (first, second)
    ]
    return stored[0] == stored[1]


class _NotStorableError(Exception):
    """BSON has no form for a value."""


def _encode(values: Mapping[str, object]) -> bytes:
    try:
        encoded = bson.encode(values, codec_options=_WRITE)
    except (TypeError, ValueError, ArithmeticError, bson.errors.BSONError) as error:
        raise _NotStorableError(str(error)) from error
    if len(encoded) > _LARGEST:
        raise _NotStorableError(f"it is larger than {_LARGEST} bytes")
    return encoded


def _try(key: str, value: object) -> Iterator[Fault]:
    try:
        bson.decode(_encode({key: value}), _PLAIN)
    except (_NotStorableError, bson.errors.InvalidBSON) as error:
        text = str(error) or type(error.__cause__).__name__
        yield (key,), f"MongoDB cannot store it: {text}", value


def _find_faults(place: Place, value: object) -> Iterator[Fault]:
    """Find what the codec lets pass and must not be sent."""
    if type(value) in SIMPLE:
        return
    if isinstance(value, dt.datetime):
        if value.utcoffset() is None:
            yield place, "it needs a time zone, as in datetime.now(UTC)", value
    elif len(place) > DEEPEST:
        yield place[:1], f"it nests deeper than {DEEPEST} levels", "…"
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                yield place, f"the key {key!r} is no text", value
            elif key.startswith("$") or "." in key or "\0" in key:
                text = "begins with '$', or has a dot or a null character"
                yield (*place, key), f"the key {key!r} {text}", inner
            else:
                yield from _find_faults((*place, key), inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for index, inner in enumerate(value):
            yield from _find_faults((*place, index), inner)
