"""What the filters of model classes mean to MongoDB."""

import functools
import types
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence

import bson
import pydantic
from pydantic import ValidationError

from quorum.config import MISSING
from quorum.documents import DEEPEST, Document, Fault, is_hiding, refuse, to_plain

#: What can be iterated over, and is one value all the same.
_ONE: t.Final = (str, bytes, Mapping)


class Where:
    """Conditions that :func:`where` has made.

    :param conditions: Values by the operators of MongoDB.
    """

    def __init__(self, conditions: Mapping[str, object]) -> None:
        self.conditions = conditions


def where(
    *,
    ne: object = MISSING,
    gt: object = MISSING,
    gte: object = MISSING,
    lt: object = MISSING,
    lte: object = MISSING,
    one_of: Iterable[object] | None = None,
    none_of: Iterable[object] | None = None,
) -> Where:
    """Return conditions for a field, as a filter of :meth:`Model.find` and the like.

    All of them must hold. What a user sends never turns into conditions by itself: a
    filter has them only where the program calls this.

    :param ne: It is not this value, or is not there.
    :param gt: It is greater.
    :param gte: It is greater or equal.
    :param lt: It is less.
    :param lte: It is less or equal.
    :param one_of: It is one of these values.
    :param none_of: It is none of these values.
    :returns: The conditions.
    :raises ValidationError: If ``one_of`` or ``none_of`` is no list of values, nor
        another iterable; text and mappings are none here.
    """
    given = {"$ne": ne, "$gt": gt, "$gte": gte, "$lt": lt, "$lte": lte}
    conditions = {name: v for name, v in given.items() if v is not MISSING}
    several = {"one_of": ("$in", one_of), "none_of": ("$nin", none_of)}
    for argument, (operator, values) in several.items():
        if values is None:
            continue
        if isinstance(values, _ONE) or not isinstance(values, Iterable):
            fault = ((argument,), "it takes a list of values", values)
            raise refuse("where", [fault], hide=True)
        conditions[operator] = list(values)
    return Where(conditions)


def to_query(
    model: type[pydantic.BaseModel], filters: Mapping[str, object], *faults: Fault
) -> Document:
    r"""Return the query of filters, whose values get the types of their fields.

    :param model: The model.
    :param filters: Values, or what :func:`where` returns, by names of fields.
    :param \*faults: What else is wrong with the call.
    :returns: The query.
    :raises ValidationError: If there are faults, a filter names no field, or a value
        does not fit; it has an entry for each.
    """
    query: Document = {}
    found = list(faults)
    for name, value in filters.items():
        one = _make_field(model, name)
        if one is None:
            found.append(((name,), "the model has no such field", value))
            continue
        try:
            query[to_key(name)] = _to_condition(one, name, value)
        except ValidationError as error:
            found += [
                ((name, *fault["loc"][1:]), fault["msg"], fault["input"])
                for fault in error.errors()
            ]
    if found:
        raise refuse(model.__name__, found, is_hiding(model))
    return query


def to_order(
    model: type[pydantic.BaseModel], sort: object
) -> tuple[list[tuple[str, int]], list[Fault]]:
    """Return the order that names of fields stand for, and what is wrong with them.

    :param model: The model.
    :param sort: A name, or several; one with a minus in front is in descending order.
    :returns: Pairs of key and direction, and the faults.
    """
    several = isinstance(sort, Sequence) and not isinstance(sort, str)
    given = list(t.cast("Sequence[object]", sort)) if several else [sort]
    names = [name for name in given if isinstance(name, str)]
    if len(names) != len(given):
        return [], [(("sort",), "it is no name of a field, nor a list of them", sort)]
    pairs = [(name.removeprefix("-"), -1 if name[:1] == "-" else 1) for name in names]
    faults: list[Fault] = [
        (("sort",), "the model has no such field", name)
        for name, _ in pairs
        if _make_field(model, name) is None
    ]
    return [(to_key(name), direction) for name, direction in pairs], faults


def to_key(name: str) -> str:
    """Return the name under which a field is stored."""
    return "_id" if name == "id" else name


def find_models(annotation: object) -> list[type[pydantic.BaseModel]]:
    """Return the models in the type of a field, as in ``list[Address] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    inner = t.get_args(annotation)
    return [model for argument in inner for model in find_models(argument)]


def _to_condition(
    one: type[pydantic.BaseModel], name: str, value: object
) -> Document | object:
    """Return what the value of a filter means, with the type of the field."""

    def convert(value: object) -> t.Any:
        checked = one.__pydantic_validator__.validate_python(
            {"value": value}, by_name=True
        )
        dumped = one.__pydantic_serializer__.to_python(checked, by_alias=False)
        return to_plain(name, dumped)["value"]

    if isinstance(value, Where):
        return {
            operator: [convert(item) for item in operand]
            if isinstance(operand, list)
            else convert(operand)
            for operator, operand in value.conditions.items()
        }
    converted = convert(value)
    # Alone, these two would be taken for operators and for a pattern.
    is_special = isinstance(converted, dict | bson.Regex)
    return {"$eq": converted} if is_special else converted


# Users may choose the path, so there is no end of them.
@functools.lru_cache(maxsize=512)
def _make_field(
    model: type[pydantic.BaseModel], path: str
) -> type[pydantic.BaseModel] | None:
    """Make a model whose only field, ``value``, takes what the field at a path does."""
    if path.count(".") >= DEEPEST:
        return None
    found = tuple(_find_types(model, path))
    if not found:
        return None
    # A default would be taken for the value, and an alias for its name.
    options: t.Any = {"__config__": {**model.model_config, "extra": "forbid"}}
    options["value"] = (t.Union[found], ...)  # noqa: UP007
    made: type[pydantic.BaseModel] = pydantic.create_model(model.__name__, **options)
    return made


def _find_types(model: type[pydantic.BaseModel], path: str) -> Iterator[t.Any]:
    """Find what the field at a path may hold; a list is found by its elements too."""
    name, _, rest = path.partition(".")
    field = model.model_fields.get(name)
    if field is None:
        return
    if rest:
        for nested in find_models(field.annotation):
            yield from _find_types(nested, rest)
        return
    annotation: t.Any = field.annotation
    yield t.Annotated[annotation, *field.metadata] if field.metadata else annotation
    yield from _find_elements(annotation)


def _find_elements(annotation: object) -> Iterator[t.Any]:
    origin, arguments = t.get_origin(annotation), t.get_args(annotation)
    if origin in (list, set, frozenset, tuple):
        yield from (argument for argument in arguments if argument is not ...)
    elif origin in (t.Union, types.UnionType):
        for argument in arguments:
            yield from _find_elements(argument)
