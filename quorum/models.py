"""Model classes: pydantic models that are stored as documents of MongoDB."""

import contextlib
import copy
import types
import typing as t
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import pydantic
from bson import ObjectId
from pydantic import ValidationError

from quorum.documents import (
    READ,
    READ_FAST,
    SIMPLE,
    Document,
    is_hiding,
    is_same,
    to_plain,
    to_read,
)
from quorum.errors import (
    ConflictError,
    DocumentError,
    DuplicateError,
    ServiceRefusedError,
    UnsupportedError,
)
from quorum.fields import Id, field, get_facts
from quorum.mongodb import SERVICE, MongoDB, get_mongo_db
from quorum.queries import Where, to_key, to_order, to_query, where
from quorum.state import get_handle

__all__ = ["Id", "Model", "Where", "field", "where"]

if TYPE_CHECKING:
    import pymongo.collection
    import pymongo.cursor

    # Checkers know no metaclass by ``type(…)``, and pydantic names it in private only.
    from pydantic._internal._model_construction import ModelMetaclass

    Collection: t.TypeAlias = pymongo.collection.Collection[Document]
else:
    ModelMetaclass = type(pydantic.BaseModel)

#: Arguments of :meth:`Model.find`, which no field can be named like.
_TAKEN: t.Final = frozenset({"sort", "skip", "limit"})


@t.dataclass_transform(
    kw_only_default=True, field_specifiers=(field, pydantic.Field, pydantic.PrivateAttr)
)
class _ModelMeta(ModelMetaclass):
    """Tells type checkers of :func:`field`."""


class Model(pydantic.BaseModel, metaclass=_ModelMeta):
    """A document of MongoDB, with typed and validated fields.

    Subclass it with the fields as annotated attributes. The collection has the name
    of the class in small letters, or the one of ``class Person(Model, collection=…)``.
    """

    __slots__ = ("_stored",)

    model_config: t.ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(
        arbitrary_types_allowed=True,
        extra="forbid",
        populate_by_name=True,
        validate_assignment=True,
    )

    #: Name of the collection.
    collection_name: t.ClassVar[str] = ""

    #: The document's id, stored as ``_id``; made when the object is.
    id: Id = pydantic.Field(default_factory=ObjectId, frozen=True)

    def __init_subclass__(cls, *, collection: str = "", **options: t.Any) -> None:
        super().__init_subclass__(**options)
        cls.collection_name = collection or cls.__name__.lower()

    @classmethod
    def __pydantic_init_subclass__(
        cls, *, collection: str = "", **options: t.Any
    ) -> None:
        super().__pydantic_init_subclass__(**options)
        if cls.model_config.get("extra") == "allow":
            hint = "Declare every field, or keep the rest in one of type dict."
            raise UnsupportedError(f"{cls.__name__} with extra='allow'", hint)
        for name in sorted(_TAKEN & cls.model_fields.keys()):
            hint = "Choose another name: find() has an argument of this one."
            raise UnsupportedError(f"A field named '{name}'", hint)

    @classmethod
    def get(cls, /, **filters: object) -> t.Self | None:
        r"""Return the first document that the filters match.

        :param \*\*filters: A value for each field, or what :func:`where` returns.
        :returns: The document; None if there is none.
        :raises ValidationError: If a filter is no field, or its value does not fit.
        :raises DocumentError: If the stored document does not fit the model.
        :raises ServiceUnavailableError: If the server cannot be reached.
        """
        query = to_query(cls, filters)
        engine, collection = cls._open()
        with engine.talk():
            found = collection.find_one(query)
        return None if found is None else cls._make_reader(engine)(found)

    @classmethod
    def find(
        cls,
        /,
        *,
        sort: str | Sequence[str] = (),
        skip: int = 0,
        limit: int = 0,
        **filters: object,
    ) -> Iterator[t.Self]:
        r"""Return the documents that the filters match, one after the other.

        They come from the server in batches while the iterator is used.

        :param sort: Names of fields to sort by, ``'-age'`` for the greatest first.
        :param skip: How many to leave out at the start.
        :param limit: How many to return at most; 0 for all.
        :param \*\*filters: As those of :meth:`get`.
        :returns: The documents.
        :raises ValidationError: If a filter or ``sort`` names no field, or a value
            does not fit.
        :raises DocumentError: From the iterator, at a document that does not fit.
        :raises ServiceUnavailableError: From the iterator, if the server cannot be
            reached.
        """
        order, faults = to_order(cls, sort)
        numbers: dict[str, object] = {"skip": skip, "limit": limit}
        for name, number in numbers.items():
            if type(number) is not int or not 0 <= number < 2**31:
                faults.append(
                    ((name,), "it is no whole number from 0 to 2**31 - 1", number)
                )
        query = to_query(cls, filters, *faults)
        engine, collection = cls._open()
        cursor = collection.find(query, skip=skip, limit=limit, sort=order or None)
        return cls._stream(engine, cursor)

    @classmethod
    def count(cls, /, **filters: object) -> int:
        r"""Return how many documents the filters match.

        :param \*\*filters: As those of :meth:`get`.
        :returns: The number.
        :raises ValidationError: If a filter is no field, or its value does not fit.
        :raises ServiceUnavailableError: If the server cannot be reached.
        """
        query = to_query(cls, filters)
        engine, collection = cls._open()
        with engine.talk():
            return collection.count_documents(query)

    @classmethod
    def exists(cls, /, **filters: object) -> bool:
        r"""Return whether the filters match a document.

        :param \*\*filters: As those of :meth:`get`.
        :returns: Whether there is one.
        :raises ValidationError: If a filter is no field, or its value does not fit.
        :raises ServiceUnavailableError: If the server cannot be reached.
        """
        query = to_query(cls, filters)
        engine, collection = cls._open()
        with engine.talk():
            return collection.find_one(query, {"_id": 1}) is not None

    def save(self) -> t.Self:
        """Store the document: all of it at first, later the fields that changed.

        Without changes nothing is sent. Afterwards the object holds what the server
        does: times in UTC, in whole milliseconds.

        :returns: The object itself.
        :raises ValidationError: If a value does not fit the model any more, or no
            server would store it; nothing was sent.
        :raises ConflictError: If the model has a version field and somebody else saved
            first, or the document was deleted.
        :raises DuplicateError: If a unique field has a value that is there already.
        :raises ServiceUnavailableError: If the server cannot be reached. It is unknown
            whether the document was stored.
        """
        cls, version = type(self), get_facts(type(self)).version
        document, checked = self._check()
        # Decided now: another thread may change the object in the meantime.
        fresh = {
            name: (vars(self)[name], value)
            for name, value in vars(checked).items()
            if to_key(name) in document and not _is_like(vars(self)[name], value)
        }
        stored, changes = _get_stored(self), Document()
        engine, collection = cls._open()
        if stored is None:
            if version:
                document[version] = 1
            with cls._writing(engine, collection, document, is_new=True):
                collection.insert_one(document)
        else:
            before = cls._to_plain(_validate(cls, stored)._dump())
            if version:
                document[version] = before[version]
            changes = {
                key: value
                for key, value in document.items()
                if key not in before or not is_same(value, before[key])
            }
            if changes:
                query = {"_id": stored["id"]}
                if version:
                    query[version] = stored.get(version)  # None where there is none yet
                    changes[version] = document[version] = before[version] + 1
                with cls._writing(engine, collection, document, is_new=False):
                    result = collection.update_one(query, {"$set": changes})
                    if not result.matched_count:
                        raise ConflictError(cls.__name__, str(self.id))
        if version:
            vars(self)[version] = document[version]
        for name, (old, value) in fresh.items():
            if name != version and vars(self)[name] is old:
                vars(self)[name] = value
        if stored is None or changes:
            _keep(self, _rename_id(to_read(document)))
        return self

    def reload(self) -> None:
        """Replace the values of all fields by those that are stored.

        :raises ConflictError: If the document is not there any more.
        :raises DocumentError: If the stored document does not fit the model.
        :raises ServiceUnavailableError: If the server cannot be reached.
        """
        fresh = type(self).get(id=self.id)
        if fresh is None:
            raise ConflictError(type(self).__name__, str(self.id))
        vars(self).update(vars(fresh))
        _keep(self, _get_stored(fresh))

    def delete(self) -> None:
        """Delete the document; one that is not there is no error.

        Saving the object afterwards stores it as a new document.

        :raises ConflictError: If the model has a version field and somebody else saved
            the document since it was loaded.
        :raises ServiceUnavailableError: If the server cannot be reached. Deleting
            again is safe.
        """
        cls, stored = type(self), _get_stored(self)
        if stored is None:
            return
        engine, collection = cls._open()
        query = {"_id": stored["id"]}
        version = get_facts(cls).version
        if version:
            query[version] = stored.get(version)
        with engine.talk():
            gone = collection.delete_one(query).deleted_count
            if version and not gone and collection.find_one({"_id": stored["id"]}):
                raise ConflictError(cls.__name__, str(self.id))
        _keep(self, None)

    @classmethod
    def setup(cls) -> list[str]:
        """Have the server make the indexes of the model that it has not.

        The first use of the model in each process does so too.

        :returns: Names of all the indexes that the model declares.
        :raises DuplicateError: If documents with the same value in a unique field are
            stored already.
        :raises ServiceRefusedError: If an index is there with other options.
        :raises ServiceUnavailableError: If the server cannot be reached.
        """
        get_handle(SERVICE).engine.collections.pop(cls, None)
        cls._open()
        return [f"{key}_1" for key, _ in get_facts(cls).indexes]

    @classmethod
    def _open(cls) -> "tuple[MongoDB, Collection]":
        """Return the engine, and the collection with its indexes made."""
        engine = get_handle(SERVICE).engine
        known = engine.collections.get(cls)
        if known is None:
            database = get_mongo_db()
            fitting = READ if get_facts(cls).decimals else READ_FAST
            options = fitting if engine.decodes else None
            with engine.talk():
                known = database.get_collection(cls.collection_name, options)
            for path, unique in get_facts(cls).indexes:
                cls._make_index(engine, known, path, unique)
            engine.collections[cls] = known
        return engine, known

    @classmethod
    def _make_index(
        cls, engine: MongoDB, collection: "Collection", path: str, unique: bool
    ) -> None:
        options: dict[str, t.Any] = {"unique": True} if unique else {}
        try:
            with engine.talk():
                collection.create_index([(path, 1)], name=f"{path}_1", **options)
        except DuplicateError as error:
            raise DuplicateError(cls.__name__, path) from _show(cls, error)
        except ServiceRefusedError as error:
            what = f"the index on '{path}' of {cls.__name__}: {error.reason}"
            place = (error.service, error.host, error.port)
            raise ServiceRefusedError(*place, what) from error.__cause__

    def _check(self) -> tuple[Document, t.Self]:
        """Return the document to store, and the object that it would be read as."""
        cls, dumped = type(self), self._dump()
        document = cls._to_plain(dumped)
        checked = _validate(cls, _rename_id(to_read(document)))
        again = checked._dump()
        if again != dumped:
            # Times lose what BSON has not, and lists may hold what the model changes.
            document = cls._to_plain(again)
        return document, checked

    @classmethod
    def _to_plain(cls, dumped: Document) -> Document:
        return to_plain(cls.__name__, dumped, is_hiding(cls))

    def _dump(self) -> Document:
        """Return the values of the fields; the dump has computed ones too."""
        dumped = self.__pydantic_serializer__.to_python(
            self, by_alias=False, warnings=False
        )
        names = get_facts(type(self)).names
        return {to_key(k): v for k, v in dumped.items() if k in names}

    @classmethod
    def _make_reader(cls, engine: MongoDB) -> Callable[[Document], t.Self]:
        """Return what makes the objects of stored documents."""
        # Looked up once: this runs for every document of a stream.
        names, shares = (facts := get_facts(cls)).names, facts.shares
        validate, keep = cls.__pydantic_validator__.validate_python, object.__setattr__
        decodes = engine.decodes

        def read(document: Document) -> t.Any:
            if not decodes:
                document = to_read(document)
            id = document["id"] = document.pop("_id")
            if not document.keys() <= names:
                document = {k: v for k, v in document.items() if k in names}
            stored = copy.deepcopy(document) if shares else document
            try:
                try:
                    made = validate(document, by_alias=False, by_name=True)
                except ValidationError:
                    # A decimal may be where the model has none, as a whole number.
                    stored = document = to_read(document)
                    made = validate(document, by_alias=False, by_name=True)
            except ValidationError as error:
                faults = [
                    f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
                    for fault in error.errors()
                ]
                reason = "; ".join(faults)
                raise DocumentError(cls.__name__, str(id), reason) from error
            keep(made, "_stored", stored)
            return made

        return read

    @classmethod
    def _stream(
        cls, engine: MongoDB, cursor: "pymongo.cursor.Cursor[Document]"
    ) -> Iterator[t.Self]:
        with engine.talk(), contextlib.closing(cursor):
            yield from map(cls._make_reader(engine), cursor)

    @classmethod
    @contextlib.contextmanager
    def _writing(
        cls,
        engine: MongoDB,
        collection: "Collection",
        document: Document,
        *,
        is_new: bool,
    ) -> Iterator[None]:
        """Say in a ``DuplicateError`` which field of the document it is."""
        try:
            with engine.talk():
                yield
        except DuplicateError as error:
            with engine.talk():
                key = error.field or _find_duplicate(
                    collection, document, is_new=is_new
                )
            name = "id" if key == "_id" else key
            raise DuplicateError(cls.__name__, name) from _show(cls, error)


def _find_duplicate(
    collection: "Collection", document: Document, *, is_new: bool
) -> str:
    """Ask which unique index has no room for a document: FerretDB does not tell."""
    own = document["_id"]
    for index in collection.index_information().values():
        values = {path: _look_up(document, path) for path, _ in index["key"]}
        if index.get("unique") and collection.find_one(values | {"_id": {"$ne": own}}):
            return ", ".join(values)
    return "_id" if is_new and collection.find_one({"_id": own}) else ""


def _show(model: type[Model], error: DuplicateError) -> BaseException | None:
    """Return what a server said of a duplicate, which quotes the values."""
    return None if is_hiding(model) else error.__cause__


M = t.TypeVar("M", bound=Model)


def _validate(model: type[M], document: Document) -> M:
    # Documents have the names of the fields, those of nested models too.
    made: M = model.__pydantic_validator__.validate_python(
        document, by_alias=False, by_name=True
    )
    return made


def _is_like(first: object, second: object) -> bool:
    """Say whether two values are equal, and their times in the same zone."""
    return first == second and (type(first) in SIMPLE or repr(first) == repr(second))


def _get_stored(model: Model) -> Document | None:
    """Return the document as it was last loaded or saved, if it ever was."""
    stored: Document | None = getattr(model, "_stored", None)
    return stored


def _keep(model: Model, stored: Document | None) -> None:
    object.__setattr__(model, "_stored", stored)  # it is no field


def _rename_id(document: Document) -> Document:
    document["id"] = document.pop("_id")
    return document


def _look_up(document: t.Any, path: str) -> object:
    for key in path.split("."):
        document = document.get(key) if isinstance(document, dict) else None
    return t.cast(object, document)


def find_model_classes(module: types.ModuleType) -> list[type[Model]]:
    """Return the model classes of a module, in the order of their names.

    :param module: The module; what it imports from others counts too.
    :returns: The classes.
    """
    found = {value for value in vars(module).values() if isinstance(value, type)}
    models = [
        value for value in found if issubclass(value, Model) and value is not Model
    ]
    return sorted(models, key=lambda model: model.__name__)
