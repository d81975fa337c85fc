"""What type checkers have to make of model classes.

Nothing here runs: a checker reads it, and fails when a type is another one.
"""

import typing as t
from collections.abc import Iterator

import bson

import quorum


class Person(quorum.Model, collection="people"):
    """What a user's own program declares."""

    name: str
    email: str = quorum.field(unique=True)
    age: int = quorum.field(default=0, index=True)
    tags: list[str] = quorum.field(default_factory=list)
    nick: str | None = None
    friend: quorum.Id | None = None


def check_finding() -> None:
    """A class method returns objects of the class that it was called on."""
    t.assert_type(Person.get(name="Ann"), Person | None)
    t.assert_type(Person.find(age=quorum.where(gt=3), sort="-age"), Iterator[Person])
    t.assert_type([person.name for person in Person.find()], list[str])
    t.assert_type(Person.count(), int)
    t.assert_type(Person.exists(name="Ann"), bool)
    t.assert_type(Person.setup(), list[str])


def check_fields(person: Person) -> None:
    """A field has the type of its annotation, and there is always an id."""
    t.assert_type(person.age, int)
    t.assert_type(person.tags, list[str])
    t.assert_type(person.nick, str | None)
    t.assert_type(person.save(), Person)
    t.assert_type(person.id, bson.ObjectId)
    t.assert_type(Person.collection_name, str)


def check_construction() -> None:
    """Fields are keywords, with their types; those with a default may be left out."""
    Person(name="Ann", email="ann@example.org")
    Person(name="Ann", email="ann@example.org", age=3, tags=["a"], nick=None)
    Person(name="Ann")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Person("Ann", email="a")  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
    Person(name="Ann", email="a", rank=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Person(name=5, email="a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Person(name="Ann", email="a", age="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def check_misuse(person: Person) -> None:
    """What cannot work is an error of the checker too."""
    person.age = "old"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    person.rank  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B018
    Person.get("Ann")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Person.find(limit="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    quorum.field(unique="yes")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
