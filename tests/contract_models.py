"""What model classes promise on every engine; a subclass says on which."""

import collections
import concurrent.futures
import contextlib
import datetime as dt
import decimal
import enum
import os
import pickle
import types
import typing as t
import uuid
from collections.abc import Iterator

import bson
import flask
import hypothesis
import hypothesis.strategies as st
import pydantic
import pymongo.monitoring
import pytest
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import quorum
from quorum import documents
from quorum.cli import group
from quorum.loading import load


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(pydantic.BaseModel):
    """A nested model."""

    street: str = ""
    city: str = quorum.field(default="", index=True)


class Person(quorum.Model, collection="people"):
    """A model with a bit of everything."""

    name: str = quorum.field(max_length=50)
    email: str = quorum.field(unique=True)
    age: int = quorum.field(default=0, index=True)
    born: dt.datetime | None = None
    tags: list[str] = []  # noqa: RUF012
    address: Address | None = None
    colour: Colour = Colour.RED
    notes: dict[str, t.Any] = {}  # noqa: RUF012


class Account(quorum.Model):
    """A model that finds out that somebody else saved first."""

    owner: str
    balance: int = 0
    version: int = quorum.field(default=0, version=True)


class Member(quorum.Model):
    """A model whose unique field is that of another model."""

    address: Address
    badge: int | None = quorum.field(default=None, unique=True)


class Everything(quorum.Model):
    """A model with every type that can be stored."""

    text: str | None = None
    whole: int | None = None
    real: float | None = None
    flag: bool | None = None
    data: bytes | None = None
    moment: dt.datetime | None = None
    day: dt.date | None = None
    reference: quorum.Id | None = None
    token: uuid.UUID | None = None
    amount: decimal.Decimal | None = None
    colour: Colour | None = None
    names: set[str] = set()  # noqa: RUF012
    pair: tuple[int, str] | None = None
    address: Address | None = None
    places: list[Address] = []  # noqa: RUF012
    anything: t.Any = None


class Commands(pymongo.monitoring.CommandListener):
    """Writes down what is sent to servers, while somebody wants to know."""

    def __init__(self) -> None:
        self.seen: list[str] | None = None

    def started(self, event: pymongo.monitoring.CommandStartedEvent) -> None:
        if self.seen is not None:
            self.seen.append(event.command_name)

    def succeeded(self, event: pymongo.monitoring.CommandSucceededEvent) -> None:
        """Need no more than the start."""

    def failed(self, event: pymongo.monitoring.CommandFailedEvent) -> None:
        """Need no more than the start."""

    @contextlib.contextmanager
    def noted(self) -> Iterator[list[str]]:
        seen: list[str] = []
        self.seen = seen
        try:
            yield seen
        finally:
            self.seen = None


def make_person(**values: t.Any) -> Person:
    return Person(**{"name": "Ann", "email": "ann@example.org", **values})


def stored(model: quorum.Model) -> dict[str, t.Any]:
    """Return the document of a model as it is stored."""
    collection = quorum.get_mongo_db()[model.collection_name]
    return t.cast("dict[str, t.Any]", collection.find_one({"_id": model.id}))


class ModelContract:
    """Tests with the fixture ``app``, whose database is empty."""

    def test_what_was_saved_is_got(self, app: flask.Flask) -> None:
        person = make_person(age=36, tags=["a"], address=Address(city="Porto")).save()

        found = Person.get(email="ann@example.org")

        assert found == person
        assert found is not person
        assert Person.get(email="nobody@example.org") is None

    def test_what_is_stored_has_the_names_of_the_fields(self, app: flask.Flask) -> None:
        person = make_person(age=36, colour=Colour.BLUE).save()

        assert stored(person) == {
            "_id": person.id,
            "name": "Ann",
            "email": "ann@example.org",
            "age": 36,
            "born": None,
            "tags": [],
            "address": None,
            "colour": "blue",
            "notes": {},
        }

    def test_every_filter_must_match(self, app: flask.Flask) -> None:
        make_person(age=36, email="a").save()
        make_person(age=40, email="b").save()

        assert Person.count() == 2
        assert Person.count(name="Ann", age=40) == 1
        assert Person.exists(age=36)
        assert not Person.exists(age=36, email="b")

    def test_filters_take_the_types_of_the_fields(self, app: flask.Flask) -> None:
        person = make_person(age=36, colour=Colour.BLUE).save()

        assert Person.get(age="36") == person
        assert Person.get(id=str(person.id)) == person
        assert Person.get(colour="blue") == Person.get(colour=Colour.BLUE) == person

    def test_conditions_hold_together(self, app: flask.Flask) -> None:
        for age in (10, 20, 30, 40):
            make_person(age=age, email=str(age)).save()

        def ages(**conditions: t.Any) -> list[int]:
            return [
                p.age for p in Person.find(sort="age", age=quorum.where(**conditions))
            ]

        assert ages(gt=10, lt=40) == [20, 30]
        assert ages(gte="20", lte="30") == [20, 30]
        assert ages(ne=10) == [20, 30, 40]
        assert ages(one_of=(10, 40, 50)) == [10, 40]
        assert ages(none_of=[10, 40]) == [20, 30]

    @pytest.mark.parametrize("argument", ["one_of", "none_of"])
    @pytest.mark.parametrize("value", [5, "10, 40", b"10", {"$gt": 1}])
    def test_what_is_no_list_of_values_is_refused(
        self, app: flask.Flask, argument: str, value: t.Any
    ) -> None:
        with pytest.raises(pydantic.ValidationError, match="a list of") as caught:
            quorum.where(**{argument: value})

        assert caught.value.errors()[0]["loc"] == (argument,)

    def test_nested_fields_and_elements_are_filters(self, app: flask.Flask) -> None:
        person = make_person(address=Address(city="Porto"), tags=["red", "big"]).save()

        assert Person.get(**{"address.city": "Porto"}) == person
        assert Person.get(address=Address(city="Porto")) == person
        assert Person.get(tags="red") == Person.get(tags=["red", "big"]) == person
        assert Person.get(address=None) is None

    def test_find_sorts_skips_and_limits(self, app: flask.Flask) -> None:
        for name, age in (("a", 1), ("b", 2), ("c", 2), ("d", 3)):
            make_person(name=name, age=age, email=name).save()

        found = Person.find(sort=("-age", "name"), skip=1, limit=2)

        assert [person.name for person in found] == ["b", "c"]

    def test_bad_orders_and_numbers_are_refused(self, app: flask.Flask) -> None:
        options: t.Any = {
            "sort": ("age", "-rank"),
            "skip": -1,
            "limit": "5",
            "age": "x",
        }

        with pytest.raises(pydantic.ValidationError) as caught:
            Person.find(**options)

        places = [fault["loc"][0] for fault in caught.value.errors()]
        assert places == ["sort", "skip", "limit", "age"]

    @pytest.mark.parametrize(
        "options",
        [
            {"cls": 1},
            {"sort": 5},
            {"sort": [5]},
            {"sort": [["age"]]},
            {"sort": {"age": 1}},
            {"skip": 2**70},
            {"limit": True},
        ],
    )
    def test_whatever_json_sends_as_options_is_refused(
        self, app: flask.Flask, options: dict[str, t.Any]
    ) -> None:
        with pytest.raises(pydantic.ValidationError) as caught:
            Person.find(**options)

        assert caught.value.errors()[0]["loc"] == (next(iter(options)),)

    def test_the_order_of_a_set_does_not_matter(self, app: flask.Flask) -> None:
        names = [f"name {number}" for number in range(20)]
        made = Everything(names=set(names)).save()

        assert stored(made)["names"] == sorted(names, key=lambda n: (len(n), n))
        assert Everything.exists(names=set(names))

    def test_times_are_in_utc_after_a_save(self, app: flask.Flask) -> None:
        zone = dt.timezone(dt.timedelta(hours=2))
        moment = dt.datetime(2026, 4, 24, 11, 30, tzinfo=zone)

        saved = Everything(moment=moment, anything=[moment]).save()

        assert saved.moment
        assert saved.moment.tzinfo is saved.anything[0].tzinfo is dt.UTC

    def test_find_leaves_other_documents_on_the_server(self, app: flask.Flask) -> None:
        people = quorum.get_mongo_db().people
        people.insert_many([{"name": "x", "email": str(n)} for n in range(300)])

        found = Person.find()

        assert next(found).email == "0"
        assert sum(1 for _ in found) == 299

    def test_an_update_sends_changed_fields_only(self, app: flask.Flask) -> None:
        make_person(age=36, tags=["a"]).save()
        first, second = Person.get(age=36), Person.get(age=36)
        assert first
        assert second

        first.age = 37
        first.save()
        second.tags.append("b")
        second.save()

        found = Person.get(name="Ann")
        assert found
        assert (found.age, found.tags) == (37, ["a", "b"])

    def test_changes_inside_of_any_value_are_found(self, app: flask.Flask) -> None:
        make_person(notes={"a": [1]}).save()
        person = Person.get(name="Ann")
        assert person

        person.notes["a"].append(True)
        person.save()
        person.notes["a"][0] = 1.0
        person.save()

        found = Person.get(name="Ann")
        assert found
        assert list(map(type, found.notes["a"])) == [float, bool]

    def test_fields_of_others_survive_a_save(self, app: flask.Flask) -> None:
        people = quorum.get_mongo_db().people
        people.insert_one({"name": "Ann", "email": "a", "legacy": 7})
        person = Person.get(email="a")
        assert person

        person.name = "Bea"
        person.save()

        document = stored(person)
        assert (document["name"], document["legacy"]) == ("Bea", 7)
        assert "age" not in document

    def test_who_saves_second_gets_a_conflict(self, app: flask.Flask) -> None:
        account = Account(owner="Ann").save()
        other = Account.get(owner="Ann")
        assert other
        account.balance += 10
        account.save()
        other.balance += 5

        with pytest.raises(quorum.ConflictError) as caught:
            other.save()

        assert (caught.value.model, caught.value.id) == ("Account", str(account.id))
        other.reload()
        other.balance += 5
        other.save()
        assert (stored(account)["balance"], stored(account)["version"]) == (15, 3)
        with pytest.raises(quorum.ConflictError):
            account.delete()

    def test_a_version_cannot_be_forged(self, app: flask.Flask) -> None:
        account = Account(owner="Ann", version=7).save()

        account.version = 99
        account.owner = "Bea"
        account.save()

        assert account.version == stored(account)["version"] == 2

    def test_a_version_field_can_come_later(self, app: flask.Flask) -> None:
        quorum.get_mongo_db().account.insert_one({"owner": "Ann"})
        account, other = Account.get(owner="Ann"), Account.get(owner="Ann")
        assert account
        assert other

        account.balance = other.balance = 1
        account.save()

        assert account.version == 1
        with pytest.raises(quorum.ConflictError):
            other.save()

    def test_deleting_what_was_never_saved_does_nothing(self, app: flask.Flask) -> None:
        Person(name="Ann", email="ann@example.org").save()

        Person(name="Ben", email="ben@example.org").delete()

        assert Person.count() == 1

    def test_a_deleted_document_is_not_saved_again(self, app: flask.Flask) -> None:
        person = make_person().save()
        other = Person.get(name="Ann")
        assert other
        other.delete()
        person.age = 3

        with pytest.raises(quorum.ConflictError):
            person.save()
        with pytest.raises(quorum.ConflictError):
            person.reload()

        person.delete()
        other.save()
        assert Person.count() == 1

    def test_a_duplicate_is_named(self, app: flask.Flask) -> None:
        make_person(email="a").save()
        other = make_person(email="b").save()
        Member(address=Address(), badge=7).save()

        with pytest.raises(quorum.DuplicateError) as inserted:
            make_person(email="a").save()
        with pytest.raises(quorum.DuplicateError) as again:
            make_person(id=other.id, email="c").save()
        other.email = "a"
        with pytest.raises(quorum.DuplicateError) as updated:
            other.save()
        with pytest.raises(quorum.DuplicateError) as badge:
            Member(address=Address(), badge=7).save()

        found = [(e.value.model, e.value.field) for e in (inserted, updated, again)]
        assert found == [("Person", "email"), ("Person", "email"), ("Person", "id")]
        assert "'badge'" in str(badge.value)
        assert str(pickle.loads(pickle.dumps(badge.value))) == str(badge.value)
        assert stored(other)["email"] == "b"

    def test_a_duplicate_in_several_fields_names_them(self, app: flask.Flask) -> None:
        people = quorum.get_mongo_db().people
        people.create_index([("name", 1), ("age", 1)], unique=True)
        make_person(name="a", email="a").save()
        other = make_person(name="b", email="b").save()

        with pytest.raises(quorum.DuplicateError) as inserted:
            make_person(name="a", email="c").save()
        other.name = "a"
        with pytest.raises(quorum.DuplicateError) as updated:
            other.save()

        for it in (inserted, updated):
            assert it.value.field == "name, age"
        assert Person.count() == 2

    def test_pymongo_finds_a_uuid_as_it_is(self, app: flask.Flask) -> None:
        known = uuid.uuid4()
        thing = Everything(token=known).save()
        raw = quorum.get_mongo_db()[Everything.collection_name]

        found = raw.find_one({"token": known})

        assert found is not None
        assert (found["_id"], found["token"]) == (thing.id, known)

    def test_of_many_that_save_one_value_one_wins(self, app: flask.Flask) -> None:
        def sign_up(number: int) -> str:
            try:
                make_person(name=str(number)).save()
            except quorum.DuplicateError:
                return "refused"
            return "saved"

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            said = collections.Counter(pool.map(sign_up, range(16)))

        assert said == {"saved": 1, "refused": 15}
        assert Person.count() == 1

    def test_bad_values_are_refused_with_every_field(self, app: flask.Flask) -> None:
        with pytest.raises(pydantic.ValidationError) as made:
            Person(name="x" * 51, email=5, age="old", rank="x")  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
        person = make_person()
        with pytest.raises(pydantic.ValidationError):
            person.age = "old"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
        person.tags.append(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        with pytest.raises(pydantic.ValidationError) as saved:
            person.save()

        assert {e["loc"][0] for e in made.value.errors()} == {
            "name",
            "email",
            "age",
            "rank",
        }
        assert saved.value.errors()[0]["loc"] == ("tags", 0)
        assert Person.count() == 0

    @pytest.mark.parametrize(
        "filters",
        [
            {"email": {"$ne": ""}},
            {"notes": {"$ne": ""}},
            {"notes": {"a": {"$gt": ""}}},
            {"$where": "1"},
            {"$or": [{"name": "Ann"}]},
            {"rank": 1},
            {"id": {"$ne": None}},
            {"address.$where": "1"},
            {"tags": {"$exists": True}},
        ],
    )
    def test_operators_of_a_user_never_reach_the_server(
        self, app: flask.Flask, filters: dict[str, t.Any], commands: Commands
    ) -> None:
        make_person(address=Address(city="Porto")).save()

        with commands.noted() as seen:
            for look in (Person.get, Person.find, Person.count, Person.exists):
                with pytest.raises(pydantic.ValidationError):
                    t.cast(t.Any, look)(**filters)

        assert seen == []

    def test_what_a_nested_model_does_not_know_is_no_operator(
        self, app: flask.Flask
    ) -> None:
        make_person(address=Address(city="Porto")).save()

        assert Person.get(address={"$ne": None}) is None

    def test_without_the_check_an_operator_would_reach_the_server(
        self, app: flask.Flask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(documents, "_find_faults", lambda place, value: ())
        person = make_person(notes={"a": 1}).save()
        assert Person.get(notes={"$ne": 5}) is None  # the second lock: it is a value

        monkeypatch.setattr("quorum.queries.dict", bytes, raising=False)

        assert Person.get(notes={"$ne": 5}) == person

    @pytest.mark.parametrize(
        ("values", "place"),
        [
            ({"anything": {"a": {"$set": 1}}}, ("anything", "a", "$set")),
            ({"anything": {"a.b": 1}}, ("anything", "a.b")),
            ({"anything": [{5: 1}]}, ("anything", 0)),
            ({"anything": 2**63}, ("anything",)),
            ({"anything": bson.DatetimeMS(2**60)}, ("anything",)),
            ({"anything": object()}, ("anything",)),
            ({"text": "\ud800"}, ("text",)),
            ({"anything": dt.datetime(2026, 1, 1)}, ("anything",)),  # noqa: DTZ001
            ({"amount": decimal.Decimal("1" * 35)}, ("amount",)),
            ({"data": b"x" * (16 * 1024 * 1024)}, ("data",)),
        ],
    )
    def test_what_no_server_takes_is_refused_before_sending(
        self,
        app: flask.Flask,
        values: dict[str, t.Any],
        place: tuple[str | int, ...],
        commands: Commands,
    ) -> None:
        with (
            commands.noted() as seen,
            pytest.raises(pydantic.ValidationError) as caught,
        ):
            Everything(whole=1, **values).save()

        assert [fault["loc"] for fault in caught.value.errors()] == [place]
        assert seen == []

    def test_too_much_nesting_is_refused(self, app: flask.Flask) -> None:
        deep: list[t.Any] = []
        for _ in range(5000):
            deep = [deep]

        with pytest.raises(pydantic.ValidationError, match="nests deeper"):
            Everything.model_construct(anything=deep).save()

    def test_times_come_back_as_the_server_has_them(self, app: flask.Flask) -> None:
        zone = dt.timezone(dt.timedelta(hours=2))
        moment = dt.datetime(2026, 4, 24, 11, 30, 0, 123456, zone)

        saved = Everything(moment=moment).save()

        assert saved.moment == dt.datetime(2026, 4, 24, 9, 30, 0, 123000, dt.UTC)
        assert Everything.get(id=saved.id) == saved

    def test_ids_are_written_as_text(self, app: flask.Flask) -> None:
        person = make_person().save()

        assert Person.model_validate_json(person.model_dump_json()) == person
        assert person.model_dump(mode="json")["id"] == str(person.id)
        assert Person.model_json_schema()["properties"]["id"]["type"] == "string"

    def test_a_document_that_does_not_fit_is_named(self, app: flask.Flask) -> None:
        people = quorum.get_mongo_db().people
        id = people.insert_one(
            {"email": "secret@example.org", "age": "old"}
        ).inserted_id

        for look in (lambda: Person.get(), lambda: list(Person.find())):
            with pytest.raises(quorum.DocumentError) as caught:
                look()

            assert (caught.value.model, caught.value.id) == ("Person", str(id))
            assert "name: Field required; age: " in str(caught.value)
            assert "secret" not in str(caught.value)

    def test_a_time_that_python_has_not_spoils_its_own_document_only(
        self, app: flask.Flask
    ) -> None:
        moment = bson.DatetimeMS(2**52)
        quorum.get_mongo_db().everything.insert_many([{"moment": moment}, {"whole": 1}])

        with pytest.raises(quorum.DocumentError, match="moment: "):
            Everything.get()

        assert Everything.exists(whole=1)

    def test_indexes_are_made_once(self, app: flask.Flask, commands: Commands) -> None:
        Person.count()
        names = set(quorum.get_mongo_db().people.index_information())

        with commands.noted() as seen:
            Person.count()
            Person.exists()

        assert names == {"_id_", "email_1", "age_1", "address.city_1"}
        assert "createIndexes" not in seen

    def test_dropping_the_database_makes_indexes_anew(self, app: flask.Flask) -> None:
        make_person().save()

        quorum.drop_mongo_db()

        assert quorum.get_mongo_db().list_collection_names() == []
        make_person().save()
        with pytest.raises(quorum.DuplicateError):
            make_person().save()

    def test_an_index_over_duplicates_is_an_error(self, app: flask.Flask) -> None:
        people = quorum.get_mongo_db().people
        people.insert_many([{"email": "a"}, {"email": "a"}])

        with pytest.raises(quorum.DuplicateError) as caught:
            Person.setup()

        assert (caught.value.model, caught.value.field) == ("Person", "email")

    def test_setup_makes_the_indexes_of_the_module(
        self, app: flask.Flask, url: str
    ) -> None:
        quorum.unload()
        module = types.ModuleType("models")
        vars(module).update(Person=Person, Account=Account, Model=quorum.Model)
        other = load(flask.Flask("other"), models=module, MONGOHQ_URL=url)
        runner = other.test_cli_runner()

        first = runner.invoke(group, ["setup"])
        second = runner.invoke(group, ["setup", "--json"])

        assert first.exit_code == second.exit_code == 0
        assert first.output.splitlines() == [
            "Account           ok      no indexes",
            "Person            ok      email_1, age_1, address.city_1",
        ]
        assert '"status": "ok"' in second.output
        with other.app_context():
            quorum.get_mongo_db().people.drop_indexes()
            quorum.get_mongo_db().people.insert_many([{"email": "a"}, {"email": "a"}])
            failed = runner.invoke(group, ["setup"])
        assert failed.exit_code == 1
        assert "would have the same 'email'" in failed.output

    def test_a_child_process_works_with_models_of_its_own(
        self, app: flask.Flask
    ) -> None:
        Person.count()
        child = os.fork()
        if child == 0:
            try:
                make_person().save()
                os._exit(0 if Person.count() == 1 else 1)
            except BaseException:  # the parent's test must not go on in the child
                os._exit(2)
        _, status = os.waitpid(child, 0)

        assert os.waitstatus_to_exitcode(status) == 0


#: Texts and numbers that FerretDB takes too; see ``tests/services/test_models.py``.
_REALS = st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0)
_KEYS = st.text(
    st.characters(exclude_characters=".\0", exclude_categories=["Cs"]), max_size=8
).filter(lambda key: not key.startswith("$"))
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_WHOLES = st.integers(-(2**63), 2**63 - 1)
_MOMENTS = st.datetimes(timezones=st.just(dt.UTC)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
_PLACES = st.builds(Address, street=_TEXTS, city=_TEXTS)
_IDS = st.binary(min_size=12, max_size=12).map(bson.ObjectId)
_ANYTHING = st.recursive(
    st.none() | st.booleans() | _WHOLES | _REALS | _TEXTS | st.binary() | _MOMENTS,
    # An array in an array is what FerretDB does not take.
    lambda inner: st.dictionaries(
        _KEYS, inner | st.lists(inner.filter(lambda v: not isinstance(v, list)))
    ),
    max_leaves=8,
)
EVERYTHING = st.fixed_dictionaries(
    {},
    optional={
        "text": _TEXTS,
        "whole": _WHOLES,
        "real": _REALS,
        "flag": st.booleans(),
        "data": st.binary(max_size=50),
        "moment": _MOMENTS,
        "day": st.dates(),
        "reference": _IDS,
        "token": st.uuids(),
        "colour": st.sampled_from(Colour),
        "names": st.sets(_TEXTS, max_size=3),
        "pair": st.tuples(_WHOLES, _TEXTS),
        "address": _PLACES,
        "places": st.lists(_PLACES, max_size=3),
        "anything": _ANYTHING,
    },
)


def describe(value: object) -> object:
    """Return a value with the types of everything in it, to compare both."""
    if isinstance(value, pydantic.BaseModel):
        return type(value), {k: describe(v) for k, v in value}
    if isinstance(value, dict):
        return dict, {k: describe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [describe(item) for item in value]
    if isinstance(value, dt.datetime):
        return dt.datetime, value, value.utcoffset()
    # BSON has two kinds of integers, which PyMongo tells apart by type.
    return int if isinstance(value, bson.Int64) else type(value), value


class RoundTripContract:
    """Tests with the fixture ``app`` that try many values."""

    def test_every_value_comes_back_equal_and_of_its_type(
        self, app: flask.Flask
    ) -> None:
        @hypothesis.settings(deadline=None, max_examples=100)
        @hypothesis.given(values=EVERYTHING)
        def try_values(values: dict[str, t.Any]) -> None:
            made = Everything(**values)
            before = describe(made.model_copy(deep=True))

            saved = made.save()
            found = Everything.get(id=saved.id)

            assert found
            assert describe(found) == describe(saved) == before
            assert all(Everything.exists(**{k: v}) for k, v in values.items())

        try_values()


class ModelMachine(RuleBasedStateMachine):
    """Two people work on the same accounts, beside a dictionary that is right."""

    def __init__(self) -> None:
        super().__init__()
        quorum.get_mongo_db().account.delete_many({})
        #: What is stored: owner, balance and version, by id.
        self.truth: dict[bson.ObjectId, tuple[str, int, int]] = {}
        #: What each person has loaded, and the version that they have seen.
        self.loaded: list[tuple[Account, int]] = []

    @rule(owner=st.sampled_from("abc"), balance=_WHOLES)
    def add(self, owner: str, balance: int) -> None:
        account = Account(owner=owner, balance=balance).save()
        self.truth[account.id] = (owner, balance, 1)
        self.loaded.append((account, 1))

    @rule(data=st.data())
    @precondition(lambda self: self.truth)
    def load(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.truth)))
        account = Account.get(id=id)
        assert account
        self.loaded.append((account, account.version))

    @rule(data=st.data(), owner=st.sampled_from("abc"), balance=_WHOLES)
    @precondition(lambda self: self.loaded)
    def change(self, data: st.DataObject, owner: str, balance: int) -> None:
        index = data.draw(st.integers(0, len(self.loaded) - 1))
        account, seen = self.loaded[index]
        changed = (account.owner, account.balance) != (owner, balance)
        account.owner, account.balance = owner, balance
        if not changed:
            account.save()
        elif self.truth.get(account.id, ("", 0, 0))[2] == seen:
            account.save()
            self.truth[account.id] = (owner, balance, seen + 1)
            self.loaded[index] = (account, seen + 1)
        else:
            with pytest.raises(quorum.ConflictError):
                account.save()
            del self.loaded[index]

    @rule(data=st.data())
    @precondition(lambda self: self.loaded)
    def reload(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.loaded) - 1))
        account, _ = self.loaded[index]
        if account.id not in self.truth:
            with pytest.raises(quorum.ConflictError):
                account.reload()
            del self.loaded[index]
            return
        account.reload()
        self.loaded[index] = (account, account.version)

    @rule(data=st.data())
    @precondition(lambda self: self.loaded)
    def delete(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.loaded) - 1))
        account, seen = self.loaded.pop(index)
        if self.truth.get(account.id, ("", 0, seen))[2] != seen:
            with pytest.raises(quorum.ConflictError):
                account.delete()
            return
        account.delete()
        self.truth.pop(account.id, None)

    @invariant()
    def the_server_has_the_truth(self) -> None:
        found = {a.id: (a.owner, a.balance, a.version) for a in Account.find()}
        assert found == self.truth


def run_machine(examples: int) -> None:
    run_state_machine_as_test(
        ModelMachine,
        settings=hypothesis.settings(
            deadline=None, max_examples=examples, stateful_step_count=20
        ),
    )
