import functools
import gc
import logging
import os
import pathlib
import textwrap
import threading
import time
import typing as t
import weakref

import flask
import pytest

import quorum
from quorum import parsers
from quorum.config import VARIABLES
from quorum.engines import threads
from quorum.queues import QueueSettings
from quorum.state import get_handle, get_state
from quorum.tasks import SERVICE, Order
from quorum.testing import join_tasks
from tests.conftest import MakeApp
from tests.processes import PATIENCE, clean_environment, running
from tests.tasks_contract import Contract, Open, fail, fail_until, note, rest, took


@pytest.fixture
def open(make_app: MakeApp) -> Open:
    rest(0)  # of the test before
    return functools.partial(make_app, QUEUE_BACKOFF=0.02)


def begin() -> None:
    """Serve a first request, with which periodic work begins."""
    assert quorum.APP is not None
    quorum.APP.test_client().get("/")


def submit(function: t.Callable[..., object], *args: t.Any) -> None:
    """Submit another task."""
    quorum.run_background(function, args)


def block(started: threading.Event, end: threading.Event) -> str:
    """Occupy a worker until the test lets it go."""
    started.set()
    assert end.wait(PATIENCE)
    return "ended"


class Blocked:
    """An app of which all workers but some are busy until the end of a block."""

    def __init__(self, busy: int) -> None:
        self.end = threading.Event()
        self.busy = busy
        self.tasks: list[quorum.Task[str]] = []

    def __enter__(self) -> t.Self:
        for _ in range(self.busy):
            started = threading.Event()
            self.tasks.append(quorum.run_background(block, [started, self.end]))
            assert started.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()


class TestThreads(Contract):
    """The common part, and what only threads can do."""

    def test_nothing_starts_before_the_first_task(self, open: Open) -> None:
        before = threading.active_count()
        open()
        engine = get_handle(SERVICE).engine
        engine.ping()
        assert threading.active_count() == before

        quorum.run_background(note)

        took()
        assert threading.active_count() == before + 5
        quorum.unload()
        assert threading.active_count() == before
        gone = weakref.ref(engine)
        del engine
        gc.collect()
        assert gone() is None

    def test_any_callable_and_any_argument_will_do(self, open: Open) -> None:
        open()
        unsendable = object()

        one = quorum.run_background(lambda item: item, [unsendable])
        two = quorum.run_background(functools.partial(max, 1), [2])
        three = quorum.run_background(unsendable.__eq__, (unsendable,))

        assert one.result(PATIENCE) is unsendable
        assert two.result(PATIENCE) == 2
        assert three.result(PATIENCE) is True
        assert two.name == "builtins.max"

    def test_no_name_shows_the_arguments_of_a_partial_or_the_repr_of_an_object(
        self, open: Open
    ) -> None:
        open()

        class Login:
            def __repr__(self) -> str:
                return "hunter22"

            def __call__(self) -> None: ...

        partial = functools.partial(functools.partial(note, "hunter22"), 1)
        given = (partial, note, Login(), functools.partial(Login()))
        names = [quorum.run_background(f).name for f in given]

        assert names[0] == names[1] == "tests.tasks_contract.note"
        assert names[2] == names[3] == f"{Login.__module__}.{Login.__qualname__}"
        took()
        took()

    def test_a_task_that_gets_no_context_has_failed(self, open: Open) -> None:
        app = open()
        here, told = threading.current_thread(), []

        def refuse(app: flask.Flask) -> None:
            if threading.current_thread() is not here:
                raise ConnectionError("no database")

        def call(error: BaseException | None) -> None:
            told.append(error)

        with flask.appcontext_pushed.connected_to(refuse, app):
            task = quorum.run_background(note, callback=call, retries=1)
            with pytest.raises(ConnectionError, match="no database") as caught:
                task.result(PATIENCE)

        assert task.state == "failed"
        assert told == [caught.value]
        assert rest(0) == []

    def test_a_task_that_is_cancelled_between_tries_was_not_run_to_its_end(
        self, make_app: MakeApp
    ) -> None:
        make_app(QUEUE_BACKOFF=3600)
        started = threading.Event()

        def fail() -> None:
            started.set()
            raise ValueError("x")

        task = quorum.run_background(fail, retries=1)
        assert started.wait(PATIENCE)
        end = time.monotonic() + PATIENCE
        while task.state != "waiting" or not task.cancel():
            assert time.monotonic() < end

        with pytest.raises(quorum.TaskNotRunError, match="cancelled"):
            task.result(PATIENCE)

    def test_a_task_whose_next_run_begins_at_once_ends_no_thread(
        self, open: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open(QUEUE_URL="thread:?workers=2")
        quorum.run_background(note).result(PATIENCE)
        took()
        plan = threads.ThreadQueue._plan

        def plan_slowly(self: t.Any, task: t.Any, due: float) -> None:
            plan(self, task, 0.0)
            while task.how_far != "failed":
                time.sleep(0.01)
            time.sleep(0.1)  # the other thread ends with it first

        monkeypatch.setattr(threads.ThreadQueue, "_plan", plan_slowly)
        before = threading.active_count()
        with pytest.raises(ValueError, match="invalid literal"):
            quorum.run_background(int, ["x"], retries=1).result(PATIENCE)
        time.sleep(0.3)

        assert threading.active_count() == before

    def test_the_arguments_are_those_of_the_call(self, open: Open) -> None:
        open()
        args = [1]

        with Blocked(4):
            task = quorum.run_background(lambda *items: items, args)
            args.append(2)

        assert task.result(PATIENCE) == (1,)

    def test_a_task_tells_how_far_it_is(self, open: Open) -> None:
        open()
        with Blocked(4) as blocked:
            task = quorum.run_background(int)
            first = blocked.tasks[0].state, task.state
            with pytest.raises(TimeoutError, match="has not ended"):
                task.result(0.01)

        assert first == ("running", "waiting")
        assert blocked.tasks[0].result(PATIENCE) == "ended"
        assert task.result(PATIENCE) == 0
        assert task.state == "done"
        assert "int: done" in repr(task)

    def test_the_result_of_a_task_that_failed_is_its_error(self, open: Open) -> None:
        open()

        task = quorum.run_background(int, ["x"])

        end = time.monotonic() + PATIENCE
        while task.state != "failed":
            assert time.monotonic() < end
            time.sleep(0.01)
        for _ in range(2):
            with pytest.raises(ValueError, match="invalid literal"):
                task.result(0)

    def test_a_task_that_has_ended_is_kept_by_nobody(self, open: Open) -> None:
        open()
        task = quorum.run_background(int)
        task.result(PATIENCE)
        gone = weakref.ref(task)

        del task

        end = time.monotonic() + PATIENCE
        while gone() is not None:
            assert time.monotonic() < end
            time.sleep(0.01)

    def test_who_waits_without_a_limit_gets_the_result_when_it_is_there(
        self, open: Open
    ) -> None:
        open()

        assert quorum.run_background(time.sleep, [0.1]).result() is None

    @pytest.mark.parametrize("later", [None, 3600])
    def test_a_task_that_waits_can_be_cancelled(
        self, open: Open, later: float | None
    ) -> None:
        open()
        with Blocked(4) as blocked:
            moment = later and time.time() + later
            task = quorum.run_background(note, target_time=moment)

            assert task.cancel() is True
            assert task.cancel() is True
            assert blocked.tasks[0].cancel() is False

        assert task.state == "cancelled"
        with pytest.raises(quorum.TaskNotRunError, match=r"note' was cancelled"):
            task.result(PATIENCE)
        start = time.monotonic()
        quorum.unload()
        assert time.monotonic() - start < 5
        assert rest(0) == []

    def test_a_planned_task_that_is_cancelled_is_forgotten_and_delays_no_other(
        self, open: Open
    ) -> None:
        open()
        now = time.time()
        first, far = (
            quorum.run_background(note, target_time=now + wait) for wait in (1, 3600)
        )
        quorum.run_background(note, ["soon"], target_time=now + 1.1)
        gone = weakref.ref(first)

        assert first.cancel()
        del first

        gc.collect()
        assert gone() is None
        assert took().args == ("soon",)
        assert far.cancel()

    def test_the_callback_gets_the_error_of_the_last_try_or_none(
        self, open: Open
    ) -> None:
        open()
        calls: list[tuple[str, BaseException | None]] = []

        def call(name: str, error: BaseException | None) -> None:
            calls.append((name, error))

        works = functools.partial(call, "works")
        fails = functools.partial(call, "fails")
        quorum.run_background(int, callback=works).result(PATIENCE)
        task = quorum.run_background(int, ["x"], callback=fails, retries=2)

        with pytest.raises(ValueError, match="invalid literal") as caught:
            task.result(PATIENCE)
        assert calls == [("works", None), ("fails", caught.value)]

    def test_a_callback_that_raises_is_logged_and_ends_nothing_else(
        self, open: Open, caplog: pytest.LogCaptureFixture
    ) -> None:
        open()

        def call(error: object) -> None:
            raise SystemExit("on purpose")

        for _ in range(10):
            task = quorum.run_background(int, callback=call, description="Count.")
            assert task.result(PATIENCE) == 0
        told = [r.message for r in caplog.records]
        assert told == ["The callback of the task 'Count.' failed."] * 10

    def test_a_slow_task_delays_no_other_while_a_worker_is_free(
        self, open: Open
    ) -> None:
        open()

        with Blocked(3) as blocked:
            tasks = [quorum.run_background(int) for _ in range(100)]
            assert [task.result(PATIENCE) for task in tasks] == [0] * 100
            assert {task.state for task in blocked.tasks} == {"running"}

    def test_the_url_says_how_many_workers_there_are(self, open: Open) -> None:
        open(QUEUE_URL="thread:?workers=1")

        with Blocked(1):
            task = quorum.run_background(int)
            with pytest.raises(TimeoutError):
                task.result(0.1)

        assert task.result(PATIENCE) == 0

    @pytest.mark.parametrize(
        "url",
        [
            *("thread:?workers=0", "thread:?workers=x", "thread:?threads=1"),
            *("thread:4", "thread:?threads=", "thread:?workers=2&", "thread://host"),
        ],
    )
    def test_a_bad_url_of_threads_is_a_bad_value(self, open: Open, url: str) -> None:
        with pytest.raises(quorum.ConfigError, match=r"QUEUE_URL.*workers=N"):
            open(QUEUE_URL=url)

    def test_an_idle_worker_begins_at_once(self, open: Open) -> None:
        open()
        late = []

        for _ in range(20):
            start = time.monotonic()
            quorum.run_background(note)
            late.append(took().seconds - start)

        assert min(late) < 0.1

    def test_tasks_of_the_same_time_keep_their_order(self, open: Open) -> None:
        open(QUEUE_URL="thread:?workers=1")
        moment = time.time() + 0.3

        for number in range(200):
            quorum.run_background(note, [number], target_time=moment)

        assert [took().args[0] for _ in range(200)] == list(range(200))

    def test_a_clock_that_is_set_back_keeps_no_task_from_running(
        self, open: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open()
        real = time.time
        quorum.run_background(note, ["before"], target_time=real() + 0.2)

        monkeypatch.setattr(time, "time", lambda: real() - 0.5)
        quorum.run_background(note, ["after"], target_time=time.time() + 0.4)

        assert took().args == ("before",)
        assert took().args == ("after",)

    def test_an_error_of_the_context_is_logged_and_ends_nothing_else(
        self, open: Open, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = open()
        seen: list[BaseException | None] = []

        @app.teardown_appcontext
        def tear_down(error: BaseException | None) -> None:
            seen.append(error)
            raise SystemExit("on purpose")

        for _ in range(5):
            assert quorum.run_background(int).result(PATIENCE) == 0
        with pytest.raises(ValueError, match="invalid literal"):
            quorum.run_background(int, ["x"]).result(PATIENCE)

        assert "The context of the task 'builtins.int' failed." in caplog.messages
        assert seen[:5] == [None] * 5
        assert isinstance(seen[5], ValueError)

    def test_what_one_task_leaves_behind_no_other_finds(self, open: Open) -> None:
        open(QUEUE_URL="thread:?workers=1")

        def leave() -> bool:
            found = "left" in flask.g
            flask.g.left = True
            return found

        assert quorum.run_background(leave).result(PATIENCE) is False
        assert quorum.run_background(leave).result(PATIENCE) is False

    def test_too_many_tasks_are_refused_and_none_of_them_is_lost(
        self, open: Open
    ) -> None:
        open(QUEUE_LIMIT=3)

        with Blocked(4):
            tasks = [quorum.run_background(int) for _ in range(2)]
            tasks.append(quorum.run_background(int, target_time=time.time() + 0.1))
            reason = "^queue: 3 tasks wait, and QUEUE_LIMIT"
            with pytest.raises(quorum.ServiceUnavailableError, match=reason):
                quorum.run_background(int)

        assert [task.result(PATIENCE) for task in tasks] == [0] * 3

    def test_execution_false_refuses_what_would_run_in_this_process(
        self, make_app: MakeApp
    ) -> None:
        make_app(execution=False)

        with pytest.raises(quorum.ExecutionDisabledError, match="'shop' was loaded"):
            quorum.run_background(note)

    def test_without_an_app_a_task_is_refused(self) -> None:
        with pytest.raises(quorum.NotLoadedError):
            quorum.run_background(note)

    def test_each_app_has_tasks_of_its_own(self, open: Open) -> None:
        apps = [open(name) for name in ("shop", "blog")]

        for app in apps:
            with app.app_context():
                quorum.run_background(note)

        assert {took().app, took().app} == {"shop", "blog"}
        quorum.unload(app=apps[0])
        quorum.run_background(note)
        assert took().app == "blog"


def test_the_unload_waits_for_what_is_waiting_and_planned_soon(open: Open) -> None:
    open()
    end = threading.Event()
    for _ in range(4):
        quorum.run_background(end.wait, [PATIENCE])
    for number in range(50):
        quorum.run_background(note, [number])
    quorum.run_background(note, [50], target_time=time.time() + 0.3)
    threading.Timer(0.1, end.set).start()

    quorum.unload()

    assert len(rest(0)) == 51


def test_the_unload_lets_tasks_submit_others(open: Open) -> None:
    open()

    def submit(left: int) -> None:
        time.sleep(0.01)
        note(left)
        if left:
            moment = time.time() + 0.01 if left % 2 else None
            quorum.run_background(submit, [left - 1], target_time=moment)

    quorum.run_background(submit, [9])

    quorum.unload()

    assert [item.args[0] for item in rest(0)] == list(reversed(range(10)))


def test_the_unload_does_not_wait_for_a_retry_that_comes_too_late(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    make_app(QUEUE_BACKOFF=3600)
    started = threading.Event()

    def fail() -> None:
        started.set()
        time.sleep(0.1)
        raise ValueError("x")

    task = quorum.run_background(fail, description="Fail.", retries=1)
    assert started.wait(PATIENCE)
    start = time.monotonic()

    quorum.unload()

    assert time.monotonic() - start < 5
    assert task.state == "dropped"
    assert "did not run in the 10 seconds of QUEUE_DRAIN: 'Fail.' (1)" in caplog.text


def test_the_unload_tells_by_name_what_did_not_run(
    open: Open, caplog: pytest.LogCaptureFixture
) -> None:
    open(QUEUE_DRAIN=0.2)
    end = threading.Event()
    try:
        for _ in range(4):
            quorum.run_background(end.wait, [PATIENCE], description="Wait.")
        waiting = [quorum.run_background(note) for _ in range(2)]
        moment = time.time() + 3600
        later = quorum.run_background(note, target_time=moment, description="Later.")

        quorum.unload()
    finally:
        end.set()

    within = "in the 0.2 seconds of QUEUE_DRAIN:"
    note_name = "tests.tasks_contract.note"
    assert [r.message for r in caplog.records if r.levelno == logging.ERROR] == [
        f"3 of the tasks did not run {within} 'Later.' (1), '{note_name}' (2).",
        f"4 of the tasks did not end {within} 'Wait.' (4).",
    ]
    for task in (later, *waiting):
        assert task.state == "dropped"
        with pytest.raises(quorum.TaskNotRunError, match="was dropped"):
            task.result(PATIENCE)
    assert rest(0) == []


def test_a_task_can_unload_its_app(open: Open) -> None:
    app = open()
    ended = threading.Event()

    def unload() -> None:
        quorum.unload(app=app)
        ended.set()

    quorum.run_background(unload)

    assert ended.wait(PATIENCE)
    assert quorum.APP is None


def test_a_task_that_unloads_its_app_tells_which_others_did_not_end(
    open: Open, caplog: pytest.LogCaptureFixture
) -> None:
    app = open(QUEUE_DRAIN=0.1)
    ended = threading.Event()

    def unload() -> None:
        quorum.unload(app=app)
        ended.set()

    with Blocked(1):
        quorum.run_background(unload)
        assert ended.wait(PATIENCE)

    assert "1 of the tasks did not end in the 0.1 seconds of QUEUE_DRAIN" in caplog.text
    assert "block" in caplog.text


def test_a_task_of_an_app_that_is_being_unloaded_is_refused(open: Open) -> None:
    open()
    quorum.run_background(int)
    state = get_state()
    engine = get_handle(SERVICE).engine
    quorum.unload()

    with pytest.raises(quorum.ServiceUnavailableError, match=r"^queue: the app is"):
        engine.submit(state, Order(int))


def test_threads_that_the_system_does_not_give_are_an_error(
    open: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    open()
    start = threading.Thread.start
    before = threading.active_count()
    refused: list[str] = []

    def refuse(self: threading.Thread) -> None:
        if self.name.endswith(refused[-1]):
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for number in ("0", "1"):
        refused.append(number)
        with pytest.raises(quorum.ServiceUnavailableError, match=r"^queue: can't st"):
            quorum.run_background(note)
    refused.append("2")
    quorum.run_background(note)
    took()
    assert threading.active_count() == before + 2
    quorum.unload()
    assert threading.active_count() == before


def test_a_log_that_fails_ends_no_thread_and_no_periodic_work(
    open: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("full")

    handler = Broken()
    monkeypatch.setattr(logging.getLogger("quorum"), "handlers", [handler])
    open()

    @quorum.background(0.01)
    def tick() -> None:
        note("tick")
        raise ValueError("on purpose")

    begin()
    failing = [quorum.run_background(fail, ["error"]) for _ in range(8)]
    for task in failing:
        with pytest.raises((OSError, ValueError)):
            task.result(PATIENCE)

    assert [took().args for _ in range(20)].count(("tick",)) >= 3
    quorum.unload()
    rest(0)


class TestJoin:
    def test_what_tasks_submit_and_try_again_is_waited_for(self, open: Open) -> None:
        open()
        soon = time.time() + 0.1

        quorum.run_background(fail_until, [3], retries=5)
        quorum.run_background(submit, [submit, submit, note])
        quorum.run_background(note, ["soon"], target_time=soon)
        join_tasks()

        assert sorted(str(each.args) for each in rest(0)) == [
            "('soon',)",
            "()",
            *["(3,)"] * 3,
        ]

    def test_every_end_of_a_long_chain_is_waited_for(self, open: Open) -> None:
        open()

        for _ in range(50):
            quorum.run_background(submit, [*[submit] * 40, note])
            join_tasks()
            assert len(rest(0)) == 1

    def test_what_starts_later_or_again_and_again_is_not(self, open: Open) -> None:
        open()
        quorum.background(0.01)(note)
        begin()
        late = quorum.run_background(note, ["late"], target_time=time.time() + 60)
        start = time.monotonic()

        join_tasks()

        assert time.monotonic() - start < 5
        assert late.state == "waiting"

    def test_what_does_not_end_is_named(self, open: Open) -> None:
        app = open()
        with Blocked(2):
            said = (
                r"^Not ended in 0\.05 seconds: "
                r"'tests\.test_tasks\.block', 'tests\.test_tasks\.block'\.$"
            )

            with pytest.raises(TimeoutError, match=said):
                join_tasks(app, 0.05)

        join_tasks(app)

    def test_a_queue_has_nothing_to_wait_for(self, make_app: MakeApp) -> None:
        make_app(QUEUE_URL="redis://127.0.0.1:1")

        with pytest.raises(quorum.UnsupportedError, match="QUEUE_URL='thread:'"):
            join_tasks()


class TestPeriodic:
    def test_an_app_that_is_unloaded_is_forgotten(self, open: Open) -> None:
        receivers = len(flask.request_started.receivers)
        app = open()
        quorum.background(3600)(note)

        quorum.unload(app=app)

        assert len(flask.request_started.receivers) == receivers

    def test_making_an_app_starts_nothing(self, open: Open) -> None:
        before = threading.active_count()
        open()
        quorum.background(0.01)(note)

        quorum.call_run()

        assert rest(0.1) == []
        assert threading.active_count() <= before

    def test_run_starts_it(self, open: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(flask.Flask, "run", lambda *_, **__: took())
        open()
        quorum.background()(note)

        quorum.run()

    def test_a_function_is_repeated_from_the_start_of_the_app_on(
        self, open: Open, caplog: pytest.LogCaptureFixture
    ) -> None:
        @quorum.background(timeout=0.1)
        def tick() -> None:
            note("tick")
            raise ValueError("on purpose")

        app = open()
        assert rest(0.2) == []

        start = time.monotonic()
        begin()

        notes = [took() for _ in range(4)]
        assert {item.app for item in notes} == {app.name}
        assert notes[3].seconds - start >= 0.29  # the first run may be late
        quorum.unload()
        rest(0)
        assert rest(0.3) == []
        assert {r.getMessage() for r in caplog.records} == {
            f"The task '{tick.__module__}.{tick.__qualname__}' failed."
        }

    def test_the_first_request_starts_it_too_and_once(self, open: Open) -> None:
        app, other = open("shop"), open("blog")

        def start() -> None:
            note("start")

        def repeat() -> None:
            note("repeat")

        with app.app_context():
            assert quorum.background()(start) is start
        other.test_client().get("/")
        assert rest(0.1) == []
        app.test_client().get("/")
        notes = [took()]
        with app.app_context():
            quorum.background(3600)(repeat)
        for _ in range(3):
            app.test_client().get("/")
        notes.append(took())

        assert [item.args[0] for item in notes] == ["start", "repeat"]
        assert [item.request_id for item in notes] == [None, None]
        assert rest() == []

    def test_what_is_registered_later_is_started_later_and_nothing_twice(
        self, open: Open
    ) -> None:
        open()

        for word in ("one", "two", "three"):
            quorum.background()(functools.partial(note, word))
            begin()
            assert took().args == (word,)

        begin()
        assert rest() == []

    def test_the_unload_does_not_wait_for_the_next_run(self, open: Open) -> None:
        open()
        quorum.background(3)(note)
        begin()
        took()
        start = time.monotonic()

        quorum.unload()

        assert time.monotonic() - start < 2
        assert rest(0) == []

    def test_a_request_after_the_unload_starts_nothing(self, open: Open) -> None:
        app = open()
        quorum.background()(note)
        quorum.unload()
        before = threading.active_count()

        app.test_client().get("/")

        assert rest(0.1) == []
        assert threading.active_count() == before

    def test_a_slow_run_delays_the_next_and_they_never_overlap(
        self, open: Open
    ) -> None:
        open()
        busy = threading.Lock()

        @quorum.background(0.01)
        def tick() -> None:
            note(busy.acquire(blocking=False))
            time.sleep(0.05)
            busy.release()

        begin()

        assert all(took().args[0] for _ in range(5))

    def test_execution_false_repeats_nothing(self, make_app: MakeApp) -> None:
        @quorum.background(0.01)
        def tick() -> None:
            note("tick")

        make_app(execution=False)
        begin()

        assert rest() == []

    def test_the_unload_waits_for_a_run_and_forgets_the_rest(
        self, open: Open, caplog: pytest.LogCaptureFixture
    ) -> None:
        open()
        started = threading.Event()

        @quorum.background(0.01)
        def tick() -> None:
            started.set()
            time.sleep(0.2)
            note("ended")

        begin()
        assert started.wait(PATIENCE)

        quorum.unload()

        assert len(rest(0)) >= 1
        assert caplog.messages == []

    @pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "5"])
    def test_a_bad_timeout_is_an_error(self, timeout: t.Any) -> None:
        with pytest.raises(quorum.TaskError, match=r"contract\.note' .* timeout"):
            quorum.background(timeout)(note)

    def test_parentheses_that_are_missing_are_an_error(self) -> None:
        bare: t.Any = quorum.background

        with pytest.raises(quorum.TaskError, match=r"note' .*@background\(\)"):
            bare(note)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_runs_tasks_of_its_own_and_not_its_parents(
    open: Open,
) -> None:
    open()
    with Blocked(4) as blocked:
        waiting = [quorum.run_background(os.getpid) for _ in range(3)]
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                found = quorum.run_background(os.getpid).result(PATIENCE)
                quorum.unload()
                os.write(writing, str(found).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        told = os.read(reading, 100).decode()
        os.close(reading)
        os.close(writing)

    assert told == str(child)
    assert {task.result(PATIENCE) for task in waiting} == {os.getpid()}
    assert blocked.tasks[0].result(PATIENCE) == "ended"


PROGRAM = """
    import os, sys, time, quorum

    def work(word):
        time.sleep(0.05)
        os.write(1, f"{word}\\n".encode())

    app = quorum.load(QUEUE_DRAIN=2)
    if "fork" in sys.argv:
        quorum.run_background(work, ["parent"]).result(10)
        late = time.time() + 60
        quorum.run_background(work, target_time=late, description="The parent's.")
        if os.fork() != 0:
            os.wait()
            sys.exit()
    for number in range(9):
        quorum.run_background(work, [number])
    quorum.run_background(work, target_time=time.time() + 9, description="Too late.")
"""


@pytest.mark.parametrize("argument", ["plain", "fork"])
def test_the_end_of_the_interpreter_drains_too(
    tmp_path: pathlib.Path, argument: str
) -> None:
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    environment = clean_environment(PYTHONWARNINGS="default")

    with running("program.py", argument, cwd=tmp_path, env=environment) as process:
        output, _ = process.communicate(timeout=PATIENCE)

    words = output.split()
    assert {str(number) for number in range(9)} <= set(words)
    assert "1 of the tasks did not run" in output
    assert "'Too late.' (1)" in output
    assert output.count("'The parent's.' (1)") == (argument == "fork")
    assert process.returncode == 0


def test_retries_wait_longer_each_time_with_jitter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = QueueSettings({"QUEUE_BACKOFF": 2.0})

    for tries, longest in ((1, 2), (2, 4), (3, 8), (60, 3600)):
        waits = [settings.retry_after(OSError(), "pay", tries, 99) for _ in range(50)]
        known = [wait for wait in waits if wait is not None]

        assert longest / 2 <= min(known) < max(known) <= longest
        said = caplog.records[-1]
        assert said.getMessage().startswith("The task 'pay' failed")
        assert f" {known[-1]:.1f} seconds ({tries} of 99)" in said.getMessage()
        assert said.levelno == logging.WARNING
        assert said.exc_info
    assert settings.retry_after(OSError(), "pay", 100, 99) is None


def test_the_server_that_counts_starts_is_that_of_its_url() -> None:
    url = parsers.URL("redis://localhost:7777")

    found = QueueSettings({"QUEUE_STATE_URL": url, "QUEUE_TIMEOUT": 3.0}).of_store()

    assert found.location == url
    assert found.timeout == 3.0


def test_the_default_queue_is_no_secret_that_a_log_would_mask(open: Open) -> None:
    open()

    assert VARIABLES["QUEUE_URL"].default == "thread:"
    assert get_state().secrets == set()


def test_threads_is_the_engine_of_the_default(open: Open) -> None:
    open()

    assert isinstance(get_handle(SERVICE).engine, threads.ThreadQueue)
