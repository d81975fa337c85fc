"""What the fields of model classes are beside what pydantic makes of them."""

import typing as t
from collections.abc import Callable, Iterator

import pydantic
from bson import ObjectId
from pydantic_core import core_schema

from quorum.config import MISSING
from quorum.mongodb import object_id
from quorum.queries import find_models

T = t.TypeVar("T")


class _IdSchema:
    """Has pydantic take an object id, or the text of one, and write it as text."""

    def __get_pydantic_core_schema__(
        self, source: object, handler: pydantic.GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        text = core_schema.no_info_plain_validator_function(object_id)
        known = core_schema.is_instance_schema(ObjectId)
        return core_schema.json_or_python_schema(
            text,
            core_schema.union_schema([known, text], mode="left_to_right"),
            serialization=core_schema.to_string_ser_schema(when_used="json"),
        )

    def __get_pydantic_json_schema__(
        self, schema: object, handler: object
    ) -> dict[str, object]:
        return {"type": "string", "pattern": "^[0-9a-f]{24}$"}


#: An object id as the type of a field; the text of one is taken too.
Id: t.TypeAlias = t.Annotated[ObjectId, _IdSchema()]


class Marks(t.NamedTuple):
    """What :func:`field` says of a field beside what pydantic takes."""

    #: Not ``index``, which tuples have.
    indexed: bool
    unique: bool
    version: bool


@t.overload
def field(
    default: T,
    *,
    index: bool = ...,
    unique: bool = ...,
    version: bool = ...,
    **options: t.Any,
) -> T: ...
@t.overload
def field(
    *,
    default_factory: Callable[[], T],
    index: bool = ...,
    unique: bool = ...,
    **options: t.Any,
) -> T: ...
@t.overload
def field(
    *, index: bool = ..., unique: bool = ..., version: bool = ..., **options: t.Any
) -> t.Any: ...
def field(
    default: t.Any = MISSING,
    *,
    index: bool = False,
    unique: bool = False,
    version: bool = False,
    **options: t.Any,
) -> t.Any:
    r"""Describe a field of a model.

    :param default: Its value when none is given; without one, it must be given.
    :param index: Whether the server keeps an index, to find by the field quickly.
    :param unique: Whether no two documents may have the same value, for which the
        server keeps an index too.
    :param version: Whether the field, an ``int`` with a default, counts how often the
        document was saved, so that a save finds out that somebody else saved first.
    :param \*\*options: What :func:`pydantic.Field` takes, such as ``max_length``.
    :returns: What pydantic makes of it.
    """
    if default is not MISSING:
        options["default"] = default
    info: t.Any = pydantic.Field(**options)
    info.metadata.append(Marks(index or unique, unique, version))
    return info


class Facts(t.NamedTuple):
    """What is known of a model class as soon as it is whole."""

    #: Names of the fields.
    names: frozenset[str]
    #: Paths of the indexes, and whether they are unique.
    indexes: tuple[tuple[str, bool], ...]
    #: Name of the version field; empty when there is none.
    version: str
    #: Whether pydantic may hand on parts of a document as they are.
    shares: bool
    #: Whether there may be decimals in one.
    decimals: bool


# fmt: off
#: Kinds of pydantic's schemas whose values are new, or can be shared.
_COPYING: t.Final = frozenset({
    "bool", "bytes", "chain", "dataclass", "dataclass-args", "dataclass-field",
    "date", "datetime", "default", "definition-ref", "definitions",
    "dict", "enum", "float", "frozenset", "function-after", "int", "json-or-python",
    "lax-or-strict", "list", "literal", "model", "model-field", "model-fields",
    "no-info", "none", "nullable", "set", "str", "tagged-union", "time",
    "timedelta", "tuple", "tuple-positional", "tuple-variable", "typed-dict",
    "typed-dict-field", "union", "uuid", "with-info",
})
# fmt: on

#: The facts of each class, found when it is first used.
_FACTS: t.Final[dict[type, Facts]] = {}


def get_facts(model: type[pydantic.BaseModel]) -> Facts:
    """Return what is known of a model class."""
    facts = _FACTS.get(model)
    if facts is None:
        model.model_rebuild()  # what was put off until a name or a use
        marks = dict(_find_marks(model))
        kinds = set(_find_kinds(model.__pydantic_core_schema__))
        facts = _FACTS[model] = Facts(
            frozenset(model.model_fields),
            tuple((path, mark.unique) for path, mark in marks.items() if mark.indexed),
            next(
                (key for key, mark in marks.items() if mark.version and "." not in key),
                "",
            ),
            bool(kinds - {"decimal"}),
            bool(kinds),
        )
    return facts


def _find_kinds(schema: object) -> Iterator[str]:
    """Find the kinds in a schema that may hand on a list or a dictionary uncopied."""
    if isinstance(schema, list | tuple):
        for inner in schema:
            yield from _find_kinds(inner)
    if not isinstance(schema, dict):
        return
    kind, made_by = schema.get("type"), schema.get("function")
    if isinstance(made_by, dict):
        made_by = made_by.get("function")
    if schema.get("cls") is ObjectId or made_by is object_id:
        return
    if isinstance(kind, str) and kind not in _COPYING:
        yield kind
    for key, inner in schema.items():
        if key not in ("metadata", "serialization"):
            yield from _find_kinds(inner)


def _find_marks(
    model: type[pydantic.BaseModel], *outer: type[pydantic.BaseModel]
) -> Iterator[tuple[str, Marks]]:
    """Find the marks of a model's fields and of those of the models in it."""
    for name, field in model.model_fields.items():
        for mark in field.metadata:
            if isinstance(mark, Marks):
                yield name, mark
        for nested in find_models(field.annotation):
            if nested not in (model, *outer):
                inner = _find_marks(nested, model, *outer)
                yield from ((f"{name}.{path}", mark) for path, mark in inner)
