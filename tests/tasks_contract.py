"""What background work promises on every engine; each engine's tests inherit it."""

import asyncio
import contextlib
import datetime
import logging
import math
import queue
import time
import typing as t
from collections.abc import Callable

import flask
import pytest

import quorum
from quorum.errors import ServiceRefusedError, ServiceUnavailableError
from quorum.tasks import Moment
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
        open()

        quorum.run_background(fail_until, [3], retries=5)

        first, second, third = took(), took(), took()
        assert rest() == []
        assert first.seconds < second.seconds < third.seconds
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
            ({"args": "text"}, "args are text"),
            ({"retries": -1}, "retries are below 0"),
            ({"target_time": math.nan}, "not finite"),
            ({"target_time": True}, "neither a number nor a datetime"),
            ({"target_time": datetime.datetime(2026, 4, 24)}, "no time zone"),  # noqa: DTZ001
        ],
    )
    def test_a_task_that_cannot_be_taken_is_refused_at_the_call(
        self, open: Open, arguments: dict[str, t.Any], fault: str
    ) -> None:
        open()

        with pytest.raises(quorum.TaskError, match=fault):
            quorum.run_background(**{"callable": note, **arguments})

        assert rest(0) == []

    def test_a_task_can_submit_another(self, open: Open) -> None:
        open()

        quorum.run_background(submit_note, ["second"])

        assert took().args == ("second",)


def submit_note(word: str) -> None:
    """Submit a task from a task."""
    moment: Moment = time.time()
    quorum.run_background(note, [word], target_time=moment)
