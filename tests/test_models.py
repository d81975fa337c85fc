"""Model classes on the engine in memory, and what needs no engine at all."""

import collections
import concurrent.futures
import datetime as dt
import decimal
import math
import re
import typing as t

import bson
import flask
import pydantic
import pytest

import quorum
from quorum.cli import group
from quorum.engines import pymongo
from quorum.fields import get_facts
from quorum.models import _get_stored
from quorum.mongodb import SERVICE
from quorum.queries import _make_field
from quorum.state import get_handle
from tests.conftest import MakeApp
from tests.contract_models import (
    Account,
    Address,
    Commands,
    Everything,
    ModelContract,
    Person,
    RoundTripContract,
    make_person,
    run_machine,
    stored,
)


@pytest.fixture
def url() -> str:
    return "memory:shop"


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest.fixture
def app(make_app: MakeApp, url: str) -> flask.Flask:
    return make_app(MONGOHQ_URL=url)


# For a duplicate, mongomock-ng 7 calls throw() as Python 3.12 deprecates it.
may_throw_as_of_old = pytest.mark.filterwarnings(
    r"ignore:the \(type, exc, tb\) signature:DeprecationWarning"
)


@may_throw_as_of_old
class TestMemory(ModelContract, RoundTripContract):
    """The contract on ``memory:``."""

    def test_saves_and_deletes_match_a_dictionary(self, app: flask.Flask) -> None:
        run_machine(examples=50)


@pytest.mark.parametrize("name", ["sort", "skip", "limit"])
def test_a_field_that_find_could_not_tell_is_refused(name: str) -> None:
    with pytest.raises(quorum.UnsupportedError, match=f"'{name}'"):
        type("Page", (quorum.Model,), {"__annotations__": {name: int}})


def test_fields_outside_of_the_model_cannot_be_allowed() -> None:
    with pytest.raises(quorum.UnsupportedError, match="extra='allow'"):
        type("Page", (quorum.Model,), {"model_config": {"extra": "allow"}})


def test_collections_are_named_after_their_classes() -> None:
    class Employee(Person):
        pass

    assert Employee.collection_name == "employee"
    assert Person.collection_name == "people"


def test_models_of_a_model_that_holds_itself_are_found(app: flask.Flask) -> None:
    class Node(pydantic.BaseModel):
        name: str = quorum.field(index=True)
        children: list["Node"] = quorum.field(default_factory=list)

    class Tree(quorum.Model):
        root: Node

    tree = Tree(root=Node(name="a", children=[Node(name="b")])).save()

    assert Tree.setup() == ["root.name_1"]
    assert Tree.get(**{"root.children.name": "b"}) == tree


def test_computed_and_excluded_fields_are_not_stored(app: flask.Flask) -> None:
    class Box(quorum.Model):
        width: int
        draft: str = pydantic.Field(default="", exclude=True)

        @pydantic.computed_field  # type: ignore[prop-decorator]
        @property
        def area(self) -> int:
            return self.width**2

    box = Box(width=2, draft="x").save()

    assert stored(box) == {"_id": box.id, "width": 2}
    assert Box.get(width=2) is not None


def test_objects_that_are_equal_stay_the_same_after_a_save(app: flask.Flask) -> None:
    person = make_person(address=Address(city="Porto"), tags=["a"])
    tags, address = person.tags, person.address

    person.save()

    assert person.tags is tags
    assert person.address is address


class City(pydantic.BaseModel):
    """A nested model whose field has another name in JSON."""

    name: str = pydantic.Field(default="", alias="cityName")


def test_a_nested_alias_loses_no_value(app: flask.Flask) -> None:
    class Stop(quorum.Model):
        city: City

    stop = Stop(city=City(cityName="Porto")).save()

    assert stop.city.name == "Porto"
    assert Stop.get(**{"city.name": "Porto"}) == stop
    assert Stop.get(city={"cityName": "Porto"}) == stop


def test_a_model_that_is_written_by_alias_is_stored_by_name(app: flask.Flask) -> None:
    class Guest(quorum.Model):
        model_config = pydantic.ConfigDict(
            alias_generator=str.upper, serialize_by_alias=True
        )

        name: str

    guest = Guest(name="Ann").save()

    assert stored(guest) == {"_id": guest.id, "name": "Ann"}
    assert Guest.get(name="Ann") == guest


def test_changes_are_found_in_what_validators_hand_on(app: flask.Flask) -> None:
    class Bag(quorum.Model):
        model_config = pydantic.ConfigDict(defer_build=True)

        plain: t.Annotated[list[int], pydantic.PlainValidator(lambda value: value)]
        known: pydantic.InstanceOf[dict[str, int]]

    id = Bag(plain=[1], known={"a": 1}).save().id
    bag = Bag.get(id=id)
    assert bag
    bag.plain.append(2)
    bag.known["b"] = 2

    bag.save()

    assert stored(bag) == {"_id": id, "plain": [1, 2], "known": {"a": 1, "b": 2}}


def test_changes_are_found_in_a_class_that_is_built_late(app: flask.Flask) -> None:
    class Late(quorum.Model):
        model_config = pydantic.ConfigDict(defer_build=True)

        anything: t.Any = None

    quorum.get_mongo_db().late.insert_one({"anything": [1]})
    late = Late.get()
    assert late
    late.anything.append(2)

    late.save()

    assert stored(late)["anything"] == [1, 2]


def test_copies_are_made_only_where_values_are_handed_on() -> None:
    assert not get_facts(Account).shares
    assert get_facts(Everything).shares


def test_the_version_of_a_nested_model_is_a_value(app: flask.Flask) -> None:
    class Outer(quorum.Model):
        inner: Account

    outer = Outer(inner=Account(owner="Ann", version=7)).save()

    found = Outer.get(id=outer.id)
    assert found
    assert found.inner.version == 7


def test_a_save_keeps_what_is_not_stored(app: flask.Flask) -> None:
    class Sketch(quorum.Model):
        width: int
        draft: str = pydantic.Field(default="", exclude=True)

    sketch = Sketch(width=2, draft="x").save()

    assert sketch.draft == "x"


def test_a_save_keeps_what_another_thread_sets(
    app: flask.Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    thing = Everything(moment=dt.datetime(2026, 1, 1, tzinfo=zone), places=[Address()])
    write = Everything._writing

    def write_slowly(*arguments: t.Any, **options: t.Any) -> t.Any:
        thing.moment = None
        thing.places.append(Address(city="Porto"))
        return write(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Everything, "_writing", write_slowly)
        thing.save()

    assert thing.moment is None
    assert thing.places == [Address(), Address(city="Porto")]
    thing.save()
    assert Everything.get(id=thing.id) == thing


def test_names_of_users_are_not_kept_for_ever(app: flask.Flask) -> None:
    for number in range(1000):
        with pytest.raises(pydantic.ValidationError):
            Person.get(**{f"name{number}": 1})

    assert _make_field.cache_info().currsize < 1000


def test_a_path_without_end_is_no_field(app: flask.Flask) -> None:
    class Tree(pydantic.BaseModel):
        branches: list["Tree"] = []

    class Garden(quorum.Model):
        tree: Tree

    with pytest.raises(pydantic.ValidationError, match="no such field"):
        Garden.get(**{"tree" + ".branches" * 5000: []})


@may_throw_as_of_old
def test_a_model_that_hides_values_hides_those_that_are_refused(
    app: flask.Flask,
) -> None:
    class Login(quorum.Model, hide_input_in_errors=True):
        password: t.Any = ""
        token: str = quorum.field(unique=True, default="seed")

    with pytest.raises(pydantic.ValidationError) as asked:
        Login.get(password={"$ne": "sesame"})
    with pytest.raises(pydantic.ValidationError) as saved:
        Login(password={"$ne": "sesame"}).save()
    Login().save()
    with pytest.raises(quorum.DuplicateError) as twice:
        Login().save()
    quorum.drop_mongo_db()
    documents = quorum.get_mongo_db()[Login.collection_name]
    documents.insert_many([{"token": "seed"}, {"token": "seed"}])
    with pytest.raises(quorum.DuplicateError) as indexed:
        Login.setup()

    assert "sesame" not in str(asked.value) + str(saved.value)
    # What the server said quotes the value.
    for error in (twice.value, indexed.value):
        assert error.__suppress_context__
        assert error.__cause__ is None


def test_without_a_url_a_model_says_what_is_missing(make_app: MakeApp) -> None:
    make_app()

    with pytest.raises(quorum.SettingMissingError, match="MONGOHQ_URL"):
        Person.count()


def test_a_model_belongs_to_the_app_in_use(make_app: MakeApp) -> None:
    first = make_app("first", MONGOHQ_URL="memory:shop")
    second = make_app("second", MONGOHQ_URL="memory:", mongo_database="other")

    with first.app_context():
        make_person().save()

    with second.app_context():
        assert Person.count() == 0
        assert quorum.get_mongo_db().name == "other"
    with pytest.raises(quorum.AppAmbiguousError):
        Person.count()


def test_of_many_threads_that_save_one_version_one_wins(app: flask.Flask) -> None:
    account = Account(owner="Ann").save()
    copies = [Account.get(id=account.id) for _ in range(16)]

    def save(copy: Account | None) -> str:
        assert copy
        copy.balance += 1
        try:
            copy.save()
        except quorum.ConflictError:
            return "conflict"
        return "saved"

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        said = collections.Counter(pool.map(save, copies))

    assert said == {"saved": 1, "conflict": 15}


def test_decimals_come_back_from_memory(app: flask.Flask) -> None:
    made = Everything(amount=decimal.Decimal("1.10"), real=math.inf).save()

    assert isinstance(stored(made)["amount"], bson.Decimal128)
    assert Everything.get(id=made.id) == made
    assert Everything.exists(amount=decimal.Decimal("1.10"))


def test_memory_refuses_an_index_whose_options_changed(app: flask.Flask) -> None:
    quorum.get_mongo_db().people.create_index([("email", 1)], name="email_1")

    with pytest.raises(quorum.ServiceRefusedError, match="the index on 'email'"):
        Person.setup()


def test_setup_without_models_says_so(make_app: MakeApp) -> None:
    app = make_app()

    result = app.test_cli_runner().invoke(group, ["setup"])

    assert result.exit_code == 0
    assert "no model classes" in result.output


def test_a_decimal_of_others_fits_a_whole_number(app: flask.Flask) -> None:
    engine = get_handle(SERVICE).engine
    engine.decodes = True  # as that of a server, which leaves decimals to BSON
    id = bson.ObjectId()

    found = Account._make_reader(engine)(
        {"_id": id, "owner": "Ann", "balance": bson.Decimal128("7")}
    )

    assert found == Account(id=id, owner="Ann", balance=7)
    assert (_get_stored(found) or {})["balance"] == decimal.Decimal(7)
    assert get_facts(Everything).decimals
    assert not get_facts(Account).decimals


def test_a_save_of_nothing_makes_no_conflict_of_a_later_one(app: flask.Flask) -> None:
    quorum.get_mongo_db().account.insert_one({"owner": "Ann"})
    account = Account.get(owner="Ann")
    assert account

    account.save()
    account.balance = 1
    account.save()

    assert stored(account)["version"] == 1


def test_a_pattern_is_a_value_and_not_a_search(app: flask.Flask) -> None:
    Everything(anything="zebra").save()

    assert not Everything.exists(anything=re.compile("z"))


@may_throw_as_of_old
def test_a_server_that_names_no_field_is_asked(
    app: flask.Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = make_person(email="a").save(), make_person(email="b").save()
    explain, freed = pymongo._explain, list[quorum.Model]()

    def explain_less(error: t.Any, *place: t.Any) -> Exception:
        found = explain(error, *place)
        for person in freed:
            person.delete()
        is_duplicate = isinstance(found, quorum.DuplicateError)
        return quorum.DuplicateError("", "") if is_duplicate else found

    monkeypatch.setattr(pymongo, "_explain", explain_less)

    def fail(person: Person) -> str:
        with pytest.raises(quorum.DuplicateError) as caught:
            person.save()
        return caught.value.field

    assert fail(make_person(email="a")) == "email"
    assert fail(make_person(email="c", id=first.id)) == "id"
    other.email = "a"
    assert fail(other) == "email"
    freed.append(first)  # nobody can tell any more, and the id it is not
    assert fail(other) == ""
    make_person(email="a").save()
    freed.extend(Person.find(email="a"))
    assert fail(make_person(email="a")) == ""
