"""What background work promises on every engine; each engine's tests inherit it."""

import asyncio
import contextlib
import contextvars
import datetime
import json
import logging
import math
import pathlib
import queue
import threading
import time
import typing as t
from collections.abc import Callable, Iterator
from os import system

import dramatiq.errors
import flask
import pytest
from markupsafe import Markup

import quorum
from quorum.engines.dramatiq import DramatiqQueue
from quorum.errors import ServiceRefusedError, ServiceUnavailableError
from quorum.state import get_state
from quorum.tasks import REPEATED, Broker, Letter, Moment, get_broker
from tests.processes import PATIENCE

#: Loads an app whose tasks are run, by threads of this process.
Open: t.TypeAlias = Callable[..., flask.Flask]


class Note(t.NamedTuple):
    """What a task of the contract has seen."""

    args: tuple[t.Any, ...]
    kwargs: dict[str, t.Any]
    app: str
    request_id: str | None
    seconds: float


PLENTY: t.Final = 1000

_make_gone: t.Any = dramatiq.errors.ConnectionClosed  # its types are missing
GONE: t.Final[Exception] = _make_gone("gone")

#: What a message must not be able to call, though a module of the tests has it.
SYSTEM = system

NOTES: "queue.SimpleQueue[Note]" = queue.SimpleQueue()


def note(*args: t.Any, **kwargs: t.Any) -> None:
    """Tell the test that the task ran."""
    name, request_id = flask.current_app.name, quorum.get_request_id()
    NOTES.put(Note(args, kwargs, name, request_id, time.monotonic()))


def fail(kind: str) -> None:
    """Tell the test that the task ran, and raise."""
    note(kind)
    place = ("mail", "mail.example.org", 25)
    errors: dict[str, BaseException] = {
        "exit": SystemExit(3),
        "refused": ServiceRefusedError(*place, "no such user"),
        "unavailable": ServiceUnavailableError(*place, "busy"),
        "error": ValueError(kind),
    }
    raise errors[kind]


def fail_until(tries: int) -> None:
    """Raise until the task was tried so often."""
    note(tries)
    flask.current_app.config["TRIES"] = flask.current_app.config.get("TRIES", 0) + 1
    if flask.current_app.config["TRIES"] < tries:
        raise ValueError("not yet")


LEFT: "contextvars.ContextVar[str]" = contextvars.ContextVar("left", default="nothing")


def leave() -> None:
    """Tell the test what is set, and set something."""
    note(LEFT.get())
    LEFT.set("something")


def note_once() -> None:
    """Tell the test that a function without arguments ran."""
    note("once")


def fail_and_cut(times: int = PLENTY) -> None:
    """Raise, and have the broker refuse what comes next, so many times."""
    note("cut")
    broker = t.cast(t.Any, get_broker(get_state()))._server.broker
    enqueue = broker.enqueue

    def refuse(*args: t.Any, **kwargs: t.Any) -> t.Any:
        nonlocal times
        times -= 1
        if times >= 0:
            raise GONE
        broker.enqueue = enqueue
        return enqueue(*args, **kwargs)

    if "enqueue" not in vars(broker):
        broker.enqueue = refuse
        raise ValueError("try me again")


async def note_later(word: str) -> None:
    """Tell the test that a coroutine ran."""
    await asyncio.sleep(0)
    note(word)


def took() -> Note:
    """Return the next note."""
    return NOTES.get(timeout=PATIENCE)


def rest(seconds: float = 0.3) -> list[Note]:
    """Return the notes that still come, for so long."""
    notes = []
    end = time.monotonic() + seconds
    with contextlib.suppress(queue.Empty):
        while True:
            notes.append(NOTES.get(timeout=max(end - time.monotonic(), 0)))
    return notes


class Contract:
    """The common part; a subclass has a fixture ``open``."""

    @pytest.fixture(autouse=True)
    def no_notes(self) -> None:
        rest(0)

    def test_a_task_runs_with_its_arguments(self, open: Open) -> None:
        open()

        quorum.run_background(note, [1, "two", None], {"three": [3.0, {"x": True}]})

        seen = took()
        assert seen.args == (1, "two", None)
        assert seen.kwargs == {"three": [3.0, {"x": True}]}
        assert rest() == []

    def test_a_task_runs_once(self, open: Open) -> None:
        open()

        for number in range(20):
            quorum.run_background(note, [number])

        assert sorted(took().args[0] for _ in range(20)) == list(range(20))
        assert rest() == []

    def test_a_task_runs_in_the_app_that_submitted_it_with_its_request(
        self, open: Open
    ) -> None:
        app = open()

        with app.test_request_context(headers={"X-Request-ID": "seven"}):
            quorum.run_background(note)
        quorum.run_background(note)

        notes = [took(), took()]
        assert {item.app for item in notes} == {app.name}
        assert {item.request_id for item in notes} == {"seven", None}

    def test_a_task_has_an_identifier_and_a_name(self, open: Open) -> None:
        open()

        first = quorum.run_background(note)
        second = quorum.run_back(note, description="Send the bill.")

        assert first.id != second.id
        assert first.name == "tests.tasks_contract.note"
        assert second.name == "Send the bill."
        for _ in (first, second):
            took()

    @pytest.mark.parametrize("kind", ["error", "exit"])
    def test_what_a_task_raises_is_logged_and_ends_nothing_else(
        self, open: Open, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        open()

        for _ in range(10):
            quorum.run_background(fail, [kind], description="Pay the bill.")
        quorum.run_background(note, ["after"])

        seen = [took().args[0] for _ in range(11)]
        assert sorted(seen) == sorted(["after", *[kind] * 10])
        assert rest() == []
        records = [r for r in caplog.records if "'Pay the bill.' failed" in r.message]
        assert [r.levelno for r in records] == [logging.ERROR] * 10
        assert {r.name for r in records} == {"quorum.tasks"}
        assert records[0].exc_info

    def test_a_task_is_tried_again_until_it_works(self, open: Open) -> None:
        open(QUEUE_BACKOFF=0.2)

        quorum.run_background(fail_until, [3], retries=5)

        first, second, third = took(), took(), took()
        assert rest() == []
        assert second.seconds - first.seconds > 0.08
        assert third.seconds - second.seconds > 0.18
        assert {first.request_id, second.request_id} == {None}

    def test_a_task_is_tried_again_as_often_as_it_says(self, open: Open) -> None:
        open()

        quorum.run_background(fail, ["unavailable"], retries=2)

        assert [took().args[0] for _ in range(3)] == ["unavailable"] * 3
        assert rest() == []

    def test_what_cannot_work_later_is_not_tried_again(self, open: Open) -> None:
        open()

        quorum.run_background(fail, ["refused"], retries=2)
        quorum.run_background(fail, ["exit"], retries=2)

        assert {took().args[0] for _ in range(2)} == {"refused", "exit"}
        assert rest(1) == []

    def test_a_task_starts_at_its_time_and_not_earlier(self, open: Open) -> None:
        open()
        start = time.monotonic()

        later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
        quorum.run_background(note, ["later"], target_time=later)
        quorum.run_background(note, ["soon"], target_time=time.time() + 0.5)
        quorum.run_background(note, ["passed"], target_time=0)
        quorum.run_background(note, ["now"])

        notes = [took() for _ in range(4)]
        assert {notes[0].args[0], notes[1].args[0]} == {"now", "passed"}
        assert [item.args[0] for item in notes[2:]] == ["soon", "later"]
        assert notes[2].seconds - start >= 0.49
        assert notes[3].seconds - start >= 0.99

    def test_a_coroutine_function_is_run(self, open: Open) -> None:
        open()

        quorum.run_background(note_later, ["later"])

        assert took().args == ("later",)

    @pytest.mark.parametrize(
        ("arguments", "fault"),
        [
            ({"callable": "note"}, "not callable"),
            ({"args": "text"}, "args are no list or tuple"),
            ({"args": 5}, "args are no list or tuple"),
            ({"kwargs": ["word"]}, "kwargs are no dictionary"),
            ({"retries": -1}, "retries are no whole number from 0"),
            ({"retries": "3"}, "retries are no whole number from 0"),
            ({"retries": 1.5}, "retries are no whole number from 0"),
            ({"callback": "note"}, "callback is not callable"),
            ({"target_time": math.nan}, "not finite"),
            ({"target_time": -math.inf}, "not finite"),
            ({"target_time": 10**400}, "not finite"),
            ({"target_time": "now"}, "neither a number nor a datetime"),
            ({"target_time": True}, "neither a number nor a datetime"),
            ({"target_time": datetime.datetime(2026, 4, 24)}, "no time zone"),  # noqa: DTZ001
        ],
    )
    def test_a_task_that_cannot_be_taken_is_refused_at_the_call(
        self, open: Open, arguments: dict[str, t.Any], fault: str
    ) -> None:
        open()

        with pytest.raises(quorum.TaskError, match=rf"^The task 'Pay\.' .*{fault}"):
            quorum.run_background(
                **{"callable": note, "description": "Pay.", **arguments}
            )

        assert rest(0) == []

    def test_what_one_task_sets_no_other_finds(self, open: Open) -> None:
        open()

        for _ in range(20):
            quorum.run_background(leave)

        assert [took().args[0] for _ in range(20)] == ["nothing"] * 20

    def test_a_task_can_submit_another(self, open: Open) -> None:
        open()

        quorum.run_background(submit_note, ["second"])

        assert took().args == ("second",)


def submit_note(word: str) -> None:
    """Submit a task from a task."""
    moment: Moment = time.time()
    quorum.run_background(note, [word], target_time=moment)


class QueueContract(Contract):
    """What a queue adds: tasks that have to travel, and dead letters."""

    def test_what_cannot_travel_is_refused_with_the_reason_and_the_fix(
        self, open: Open
    ) -> None:
        open()

        def inner() -> None: ...

        arguments: list[tuple[dict[str, t.Any], str]] = [
            ({"callable": inner}, "move it to the top of its module"),
            ({"callable": Contract().test_a_task_runs_once}, "a 'method': write a"),
            ({"callable": max}, "a 'builtin_function_or_method': write a function"),
            ({"callable": _renamed}, "contract:renamed' is something else: give the"),
            ({"callable": json.dumps}, "the module 'json': QUEUE_MODULES would have"),
            ({"args": [(1, 2)]}, r"args\[0\], a 'tuple'"),
            ({"args": [math.inf]}, r"args\[0\], a 'float'"),
            ({"kwargs": {"when": time}}, r"kwargs\['when'\], a 'module'"),
            ({"args": [Markup("<b>")]}, "'Markup': pass a plain 'str'"),
            ({"kwargs": {"x": [{1: 2}]}}, r"keys of kwargs\['x'\]\[0\]"),
        ]
        endless: list[t.Any] = []
        endless.append(endless)
        arguments.append(({"args": endless}, "one holds itself"))
        for given, fault in arguments:
            with pytest.raises(quorum.TaskError, match=f"^The task 'Pay.' .*{fault}"):
                quorum.run_background(
                    **{"callable": note, "description": "Pay.", **given}
                )
        assert rest(0.1) == []

    def test_what_only_threads_can_do_is_not_supported(self, open: Open) -> None:
        open()
        task = quorum.run_background(note)

        for act in (task.cancel, task.result, lambda: task.state):
            with pytest.raises(quorum.UnsupportedError, match="QUEUE_URL=thread:"):
                act()
        with pytest.raises(quorum.UnsupportedError, match="callback with QUEUE_URL="):
            quorum.run_background(note, callback=note)
        assert task.id in repr(task)

    def test_a_queue_accepts_though_execution_is_false(self, open: Open) -> None:
        open(execution=False)

        quorum.run_background(note)

        assert took().args == ()

    @pytest.mark.parametrize(
        "path",
        [
            "os:system",
            "tests.tasks_contract:system",
            "tests.no_such:note",
            "json:dumps",
        ],
    )
    def test_a_planted_message_runs_nothing_that_is_not_on_the_list(
        self, open: Open, path: str, tmp_path: pathlib.Path
    ) -> None:
        open()
        file = tmp_path / "planted"
        state = get_state()
        engine = t.cast(DramatiqQueue, get_broker(state))
        job: dict[str, t.Any] = {"path": path, "args": [f"touch {file}"]}
        job.update(kwargs={}, moment=None)

        engine._send(state, "planted", job)

        letter = self.wait_for_letter(engine)
        assert letter.id == "planted"
        assert letter.name == path
        assert letter.reason.startswith("quorum.errors.TaskError")
        assert not file.exists()

    def test_a_message_that_is_no_job_is_a_dead_letter(self, open: Open) -> None:
        open()
        state = get_state()
        engine = t.cast(DramatiqQueue, get_broker(state))

        engine._send(state, "odd", {"moment": None, "tries": "x"})

        assert self.wait_for_letter(engine).id == "odd"

    def test_a_task_that_is_given_up_can_be_put_back(self, open: Open) -> None:
        app = open(SECRET_KEY="hunter22")
        task = quorum.run_background(fail_while_told, ["hunter22"], retries=1)
        for _ in range(2):
            assert took().args == ("failed",)
        engine = get_broker(get_state())

        letter = self.wait_for_letter(engine)
        assert (letter.id, letter.name) == (
            task.id,
            "tests.tasks_contract:fail_while_told",
        )
        assert letter.reason == "ValueError: told to with ***"
        assert "Traceback" in letter.job["reason"]
        assert abs(letter.moment - time.time()) < PATIENCE
        app.config["WORKS"] = True
        engine.put_back(get_state(), letter)

        assert took().args == ("worked",)
        assert engine.list_letters(get_state()) == []

    def test_periodic_work_goes_through_the_queue(self, open: Open) -> None:
        REPEATED.append((note, 0.3))
        open()

        first, second = took(), took()

        assert 0.2 < second.seconds - first.seconds < PATIENCE

    def test_a_task_given_up_again_while_it_is_put_back_is_a_dead_letter(
        self, open: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open()
        quorum.run_background(fail, ["unavailable"], retries=1)
        engine = t.cast(DramatiqQueue, get_broker(get_state()))
        letter = self.wait_for_letter(engine)
        assert len(rest(0)) == 2
        drop = engine._server.drop

        def drop_late(*args: t.Any) -> None:
            end = time.monotonic() + PATIENCE
            while {letter.moment} >= {
                item.moment for item in engine.list_letters(get_state())
            }:
                assert time.monotonic() < end
                time.sleep(0.02)
            drop(*args)

        monkeypatch.setattr(engine._server, "drop", drop_late)
        engine.put_back(get_state(), letter)

        again = self.wait_for_letter(engine)
        assert again.id == letter.id
        assert again.moment > letter.moment
        assert len(rest(0)) == 2  # it had all of its tries again

    def test_a_task_that_gets_no_context_is_tried_again_and_not_lost(
        self, open: Open, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = open()
        refused: list[flask.Flask] = []

        def refuse(app: flask.Flask) -> None:
            if threading.current_thread() is not here:
                refused.append(app)
                raise ConnectionError("no database")

        here = threading.current_thread()
        with flask.appcontext_pushed.connected_to(refuse, app):
            quorum.run_background(note, retries=1)
            letter = self.wait_for_letter(get_broker(get_state()))

        assert letter.reason == "ConnectionError: no database"
        assert "The task 'tests.tasks_contract:note' failed." in caplog.text
        assert len(refused) == 2
        assert rest(0) == []

    def wait_for_letter(self, engine: Broker) -> Letter:
        end = time.monotonic() + PATIENCE
        while not (letters := engine.list_letters(get_state())):
            assert time.monotonic() < end
            time.sleep(0.02)
        (letter,) = letters
        return letter


def fail_while_told(secret: str) -> None:
    """Raise until the app is told otherwise."""
    works = flask.current_app.config.get("WORKS", False)
    note("worked" if works else "failed")
    if not works:
        raise ValueError(f"told to with {secret}")


def _make_renamed() -> Callable[[], None]:
    def renamed() -> None: ...

    renamed.__qualname__ = "renamed"
    return renamed


_renamed = _make_renamed()


def renamed() -> None:
    """Stand where another function says that it stands."""


@contextlib.contextmanager
def working(app: flask.Flask, threads: int = 4) -> Iterator[None]:
    """Run a worker of the app in threads of this process."""
    state = get_state(app)
    stop = threading.Event()
    arguments = (state, threads, stop)
    thread = threading.Thread(target=get_broker(state).work, args=arguments)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)
