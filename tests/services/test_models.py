"""Model classes on a real server, what it does otherwise than memory, and failures."""

import decimal
import doctest
import os
import pathlib
import threading
import time
import typing as t
from collections.abc import Iterator
from urllib.parse import quote

import bson
import flask
import pymongo.monitoring
import pytest

import quorum
from quorum.mongodb import SERVICE
from quorum.state import get_handle
from tests.conftest import MakeApp
from tests.contract_models import (
    Account,
    Commands,
    Everything,
    ModelContract,
    Person,
    RoundTripContract,
    make_person,
    run_machine,
    stored,
)
from tests.processes import free_port
from tests.servers import MongoServer

ROOT = pathlib.Path(__file__).parents[2]

COMMANDS = Commands()
pymongo.monitoring.register(COMMANDS)


@pytest.fixture
def url(mongo_server: MongoServer) -> str:
    return mongo_server.url


@pytest.fixture
def commands() -> Commands:
    return COMMANDS


@pytest.fixture
def app(make_app: MakeApp, url: str) -> Iterator[flask.Flask]:
    app = make_app(MONGOHQ_URL=url)
    quorum.drop_mongo_db()
    yield app
    for known in (app,):
        quorum.unload(app=known)


class TestServer(ModelContract, RoundTripContract):
    """The contract on the server."""

    def test_saves_and_deletes_match_a_dictionary(self, app: flask.Flask) -> None:
        run_machine(examples=10)


def test_the_examples_of_the_manual_work_on_the_server_too(url: str) -> None:
    page = (ROOT / "doc/source/howto/models.rst").read_text("utf-8")
    examples = doctest.DocTestParser().get_doctest(
        page.replace("memory:shop", url), {"quorum": quorum}, "models.rst", None, 0
    )

    failed, tried = doctest.DocTestRunner().run(examples)

    assert failed == 0
    assert tried > 20


def test_every_call_is_one_round_trip(app: flask.Flask, commands: Commands) -> None:
    person = make_person().save()  # the indexes are made here
    calls: dict[str, t.Any] = {
        "insert": lambda: make_person(email="b").save(),
        "update": person.save,
        "find": lambda: Person.get(email="b"),
        "delete": person.delete,
    }
    person.age = 3
    for command, call in calls.items():
        with commands.noted() as seen:
            call()

        assert seen == [command]


def test_a_save_without_changes_sends_nothing(
    app: flask.Flask, commands: Commands
) -> None:
    person = make_person(notes={"a": [1]}).save()

    with commands.noted() as seen:
        person.save()

    assert seen == []


def test_processes_make_the_same_indexes_at_once(app: flask.Flask) -> None:
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if Person.setup() else 1)
            except BaseException:  # the parent's test must not go on in the child
                os._exit(2)
        children.append(child)

    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]

    assert codes == [0] * 4
    assert len(quorum.get_mongo_db().people.index_information()) == 4


@pytest.fixture
def own_server() -> Iterator[MongoServer]:
    """A server that a test may kill."""
    with MongoServer() as server:
        yield server


def test_every_acknowledged_write_survives_a_kill(
    own_server: MongoServer, make_app: MakeApp
) -> None:
    app = make_app(MONGOHQ_URL=own_server.url, MONGODB_TIMEOUT=5)
    Person.setup()
    acknowledged: set[str] = set()
    failures: list[BaseException] = []
    stop = threading.Event()

    def write(thread: int) -> None:
        with app.app_context():
            number = 0
            while not stop.is_set():
                number += 1
                email = f"{thread}-{number}"
                try:
                    make_person(email=email).save()
                except quorum.ServiceUnavailableError:
                    continue
                except BaseException as error:
                    failures.append(error)
                    return
                acknowledged.add(email)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    try:
        _wait_for(lambda: len(acknowledged) > 20)
        own_server.kill()
        before = len(acknowledged)
        own_server.restart()
        _wait_for(lambda: len(acknowledged) > before + 20)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)

    assert failures == []
    assert acknowledged <= {person.email for person in Person.find()}


def _wait_for(condition: t.Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_paused_server_is_given_up_in_time(
    own_server: MongoServer, make_app: MakeApp
) -> None:
    make_app(MONGOHQ_URL=own_server.url, MONGODB_TIMEOUT=1)
    person = make_person().save()
    person.age = 3
    for call in (person.save, person.delete, person.reload, Person.count):
        own_server.pause()
        start = time.monotonic()
        try:
            with pytest.raises(quorum.ServiceUnavailableError) as caught:
                call()
        finally:
            own_server.resume()

        assert time.monotonic() - start < 10  # 1 s for each of a few tries
        assert caught.value.port == own_server.port
    assert person.age == 3


def test_an_iterator_whose_server_dies_says_so(
    own_server: MongoServer, make_app: MakeApp
) -> None:
    make_app(MONGOHQ_URL=own_server.url, MONGODB_TIMEOUT=1)
    people = quorum.get_mongo_db().people
    people.insert_many([{"name": "x", "email": str(n)} for n in range(300)])
    found = Person.find()
    next(found)
    own_server.kill()

    with pytest.raises(quorum.ServiceUnavailableError):
        list(found)


def test_the_wrong_password_is_refused_and_not_shown(
    mongo_server: MongoServer, make_app: MakeApp
) -> None:
    place = f"{mongo_server.host}:{mongo_server.port}/shop?authSource=admin"
    make_app(MONGOHQ_URL=f"mongodb://{quote(mongo_server.user)}:wrong-sesame@{place}")

    for call in (Person.count, quorum.drop_mongo_db):
        with pytest.raises(quorum.ServiceRefusedError) as caught:
            call()

        assert "sesame" not in str(caught.value) + repr(caught.value.__cause__)


def test_a_server_that_is_not_there_is_named_in_time(make_app: MakeApp) -> None:
    port = free_port()
    make_app(MONGOHQ_URL=f"mongodb://ann:sesame@127.0.0.1:{port}/x", MONGODB_TIMEOUT=1)
    start = time.monotonic()

    with pytest.raises(quorum.ServiceUnavailableError) as caught:
        Person.get(name="Ann")

    assert time.monotonic() - start < 8
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "sesame" not in str(caught.value) + repr(caught.value)


def test_the_parts_of_the_url_are_decoded(own_server: MongoServer) -> None:
    own_server.stop()
    server = MongoServer(user="ann@shop", password="p/:%", database="a-b")
    with server:
        quorum.load(flask.Flask("x"), MONGOHQ_URL=server.url + "&appName=a%20b")

        assert quorum.get_mongo_db().name == "a-b"
        assert quorum.get_mongo().options.pool_options.appname == "a b"
        get_handle(SERVICE).engine.ping()


#: What FerretDB does with values that MongoDB takes.
FERRETDB = [
    ({"real": float("nan")}, quorum.ServiceUnavailableError),
    ({"real": float("inf")}, quorum.ServiceRefusedError),
    ({"amount": decimal.Decimal("1.10")}, quorum.ServiceUnavailableError),
    ({"anything": [[1], [2]]}, quorum.ServiceRefusedError),
]


@pytest.mark.parametrize(("values", "error"), FERRETDB)
def test_ferretdb_does_not_take_what_mongodb_takes(
    app: flask.Flask,
    mongo_server: MongoServer,
    values: dict[str, t.Any],
    error: type[quorum.QuorumError],
) -> None:
    made = Everything(**values)

    if mongo_server.kind == "ferretdb":
        with pytest.raises(error):
            made.save()
    else:
        made.save()
        assert repr(Everything.get(id=made.id)) == repr(made)


def test_ferretdb_drops_the_sign_of_zero(
    app: flask.Flask, mongo_server: MongoServer
) -> None:
    made = Everything(real=-0.0).save()

    sign = "" if mongo_server.kind == "ferretdb" else "-"
    assert str(stored(made)["real"]) == f"{sign}0.0"


def test_ferretdb_keeps_an_index_whose_options_changed(
    app: flask.Flask, mongo_server: MongoServer
) -> None:
    quorum.get_mongo_db().people.create_index([("email", 1)], name="email_1")

    if mongo_server.kind == "ferretdb":
        Person.setup()
    else:
        with pytest.raises(quorum.ServiceRefusedError, match="the index on 'email'"):
            Person.setup()


def test_conflicts_are_found_one_after_the_other(app: flask.Flask) -> None:
    # Not at the same time: FerretDB lets two writers win.
    ids = [Account(owner=str(n)).save().id for n in range(5)]
    for id in ids:
        copies = [Account.get(id=bson.ObjectId(id)) for _ in range(3)]
        said = []
        for number, copy in enumerate(copies):
            assert copy
            copy.balance = number + 1
            try:
                copy.save()
                said.append("saved")
            except quorum.ConflictError:
                said.append("conflict")

        assert said == ["saved", "conflict", "conflict"]
