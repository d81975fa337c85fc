"""What model classes cost beside PyMongo and pydantic used by hand."""

import contextlib
import importlib.util
import itertools
import time
import typing as t
from collections.abc import Callable, Iterator

import flask
import pydantic
from bson import ObjectId

import quorum
from tests.benchmarks.measuring import (
    Effort,
    Ratio,
    Row,
    benchmark,
    compare,
    loaded,
    timed,
)
from tests.servers import MongoServer


class Fields(pydantic.BaseModel):
    """What both of the classes have."""

    name: str
    email: str
    age: int = 0
    tags: list[str] = pydantic.Field(default_factory=list)
    score: float = 0.0


class Raw(Fields):
    """A document as one validates it by hand."""

    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    id: ObjectId = pydantic.Field(alias="_id")


class Person(quorum.Model, Fields, collection="people"):
    """The same as a model class."""


@benchmark("models")
def measure_models(effort: Effort) -> Iterator[Row]:
    """Compare on a server; where there is none, in memory, which says little."""
    count = 10_000 if effort.seconds else 100
    with contextlib.ExitStack() as stack:
        url, name = "memory:quorum", "memory"
        if not MongoServer.missing():
            server = stack.enter_context(MongoServer())
            url, name = server.url, server.kind
        stack.enter_context(loaded(flask.Flask(__name__), MONGOHQ_URL=url))
        quorum.drop_mongo_db()
        documents = [make_document(number) for number in range(count)]
        people = quorum.get_mongo_db().people
        people.insert_many(documents)
        ids = itertools.cycle([document["_id"] for document in documents])
        numbers = itertools.count()

        def save_raw() -> None:
            raw = Raw.model_validate(documents[0])
            raw.age = next(numbers)
            people.update_one({"_id": raw.id}, {"$set": {"age": raw.age}})

        person = Person.get(id=documents[1]["_id"])
        assert person

        def save() -> None:
            person.age = next(numbers)
            person.save()

        def get_raw() -> Raw:
            return Raw.model_validate(people.find_one({"_id": next(ids)}))

        work: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "get()": (lambda: Person.get(id=next(ids)), get_raw),
            "find(), streamed": (
                lambda: sum(1 for _ in Person.find()),
                lambda: sum(1 for _ in map(Raw.model_validate, people.find())),
            ),
            "save() of a change": (save, save_raw),
            "save() of a new one": (
                lambda: Person(**make_document(0, "id")).save(),
                lambda: people.insert_one(
                    Raw.model_validate(make_document(0)).model_dump(by_alias=True)
                ),
            ),
        }
        goal = ">= 0.90"
        for what, (ours, limit) in work.items():
            rate = _compare_rates(ours, limit, effort)
            yield Row(f"{what} on {name}", rate, goal)
        # Without the server's time, which hides much of the client's.
        ours, limit = work["find(), streamed"]
        processor = compare(timed(ours), timed(limit), effort, rates=True)
        yield Row(f"find(), streamed: this process's time on {name}", processor, goal)
        if importlib.util.find_spec("mongoengine") and name != "memory":
            for what, theirs in _make_mongoengine(stack, url, ids, numbers).items():
                rate = _compare_rates(theirs, work[what][1], effort)
                yield Row(f"MongoEngine's {what} on {name}", rate)


def _compare_rates(
    ours: Callable[[], object], limit: Callable[[], object], effort: Effort
) -> Ratio:
    subject = timed(ours, clock=time.perf_counter)
    return compare(subject, timed(limit, clock=time.perf_counter), effort, rates=True)


def make_document(number: int, id: str = "_id") -> dict[str, t.Any]:
    """Return a document with an id of its own."""
    return {
        id: ObjectId(),
        "name": f"Person {number}",
        "email": f"{number}@example.org",
        "age": number % 100,
        "tags": ["red", "big"],
        "score": number / 7,
    }


def _make_mongoengine(
    stack: contextlib.ExitStack,
    url: str,
    ids: Iterator[ObjectId],
    numbers: Iterator[int],
) -> dict[str, Callable[[], object]]:
    """Return the same work as MongoEngine does it, for those who have it."""
    engine: t.Any = importlib.import_module("mongoengine")
    engine.connect(host=url, uuidRepresentation="standard")
    stack.callback(engine.disconnect)
    facts = {
        "meta": {"collection": "people", "auto_create_index": False},
        "name": engine.StringField(),
        "email": engine.StringField(),
        "age": engine.IntField(),
        "tags": engine.ListField(engine.StringField()),
        "score": engine.FloatField(),
    }
    kind: t.Any = type("Person", (engine.Document,), facts)
    person = kind.objects(id=next(ids)).first()

    def save() -> None:
        person.age = next(numbers)
        person.save()

    return {
        "get()": lambda: kind.objects(id=next(ids)).first(),
        "find(), streamed": lambda: sum(1 for _ in kind.objects().no_cache()),
        "save() of a change": save,
        "save() of a new one": lambda: kind(**make_document(0, "id")).save(),
    }
