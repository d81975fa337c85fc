"""Background work on dramatiq's broker in memory."""

import contextlib
import functools
import json
import re
import sys
import time
import typing as t
from collections.abc import Iterator
from queue import SimpleQueue

import dramatiq
import fakeredis
import pytest
import redis
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Middleware

import quorum
from quorum.cli import group
from quorum.engines import dramatiq as engine
from quorum.engines.brokers import ACTOR, Message, make_message
from quorum.engines.dramatiq import DramatiqQueue
from quorum.errors import ServiceError, ServiceUnavailableError
from quorum.queues import QueueSettings
from quorum.state import get_state
from quorum.tasks import REPEATED, Letter, get_broker
from quorum.testing import outbox
from tests.conftest import MakeApp
from tests.processes import PATIENCE
from tests.tasks_contract import (
    GONE,
    Open,
    QueueContract,
    fail,
    fail_and_cut,
    note,
    note_once,
    rest,
    took,
    working,
)


class OverMemory:
    """dramatiq's broker in the memory of the process."""

    idle = 10
    address = "memory:"
    store: "redis.Redis | None" = None

    def __init__(self, settings: QueueSettings, middleware: list[Middleware]) -> None:
        self.broker = StubBroker(middleware)
        self.dead: dict[str, Message] = {}
        self.beats: list[tuple[str, float]] = []
        self.closed = False

    def explain(self, error: BaseException) -> ServiceError:
        return ServiceUnavailableError("memory", "", 0, str(error))

    def beat(self, queue: str) -> None:
        self.beats.append((queue, time.monotonic()))

    def ping(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    def was_redelivered(self, message: Message) -> bool:
        return bool(message.options.get("redelivered"))

    def bury(self, message: Message) -> None:
        self.dead[message.message_id] = message

    def list_dead(self, queue: str) -> list[Message]:
        nacked = t.cast(list[Message], self.broker.dead_letters)
        dead = [*self.dead.values(), *nacked]
        return [message for message in dead if message.queue_name == queue]

    def drop(self, queue: str, id: str, failed: object) -> None:
        assert self.dead[id].queue_name == queue
        if self.dead[id].kwargs["failed"] == failed:
            del self.dead[id]


@pytest.fixture(autouse=True)
def no_notes() -> None:
    rest(0)


@pytest.fixture
def open(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    monkeypatch.setattr(engine, "connect", OverMemory)
    with contextlib.ExitStack() as stack:

        def start(name: str = "shop", **keywords: t.Any) -> t.Any:
            settings = {"QUEUE_URL": "redis://localhost", "QUEUE_BACKOFF": 0.02}
            app = make_app(name, **{**settings, **keywords})
            stack.enter_context(working(app))
            return app

        yield start


class TestMemory(QueueContract):
    """The common part, and what a queue adds."""


def test_dramatiq_is_the_one_that_is_tested() -> None:
    assert dramatiq.__version__ >= "2.2"


def test_a_task_that_ended_its_worker_too_often_is_set_aside(
    open: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = fakeredis.FakeRedis()
    monkeypatch.setattr(OverMemory, "store", store)
    open(QUEUE_STARTS=3, QUEUE_NAME="bills")
    engine = t.cast(DramatiqQueue, get_broker(get_state()))
    message = make_message("bills", "one", {"path": "tests.tasks_contract:note"})
    message.kwargs.update(args=[], kwargs={}, moment=None, retries=9)
    message.options["redelivered"] = True
    queue = engine._server.broker
    quorum.run_background(note)
    took()
    assert store.keys() == []  # the first start is not counted

    store.set("quorum:bills:starts:one", 1)
    queue.enqueue(message)
    assert took().args == ()
    end = time.monotonic() + PATIENCE
    while store.exists("quorum:bills:starts:one"):
        assert time.monotonic() < end  # a good end is a new beginning
    store.set("quorum:bills:starts:one", 2)
    queue.enqueue(message)

    letter = QueueContract().wait_for_letter(engine)
    told = "The task 'tests.tasks_contract:note' "
    assert told in letter.reason
    assert "It was started 3 times and never ended" in letter.reason
    assert rest(0.1) == []


def test_the_starts_of_a_task_are_remembered_for_a_day(
    open: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OverMemory, "store", fakeredis.FakeRedis())
    open()
    queue = t.cast(DramatiqQueue, get_broker(get_state()))
    message = make_message("shop", "one", {"path": f"{__name__}:note_memory"})
    message.kwargs.update(args=[], kwargs={}, moment=None)
    message.options["redelivered"] = True

    queue._server.broker.enqueue(message)

    (seconds,) = took().args
    assert 23 * 3600 < seconds <= 24 * 3600


def note_memory() -> None:
    """Tell the test how long the starts of this task are remembered."""
    store = t.cast(t.Any, get_broker(get_state()))._server.store
    note(store.ttl("quorum:shop:starts:one"))


def test_a_task_that_comes_again_runs_where_nothing_counts_its_starts(
    open: Open,
) -> None:
    open()
    broker = t.cast(t.Any, get_broker(get_state()))._server.broker
    message = make_message("shop", "one", {"path": "tests.tasks_contract:note"})
    message.kwargs.update(args=["again"], kwargs={}, moment=None)
    message.options["redelivered"] = True

    broker.enqueue(message)

    assert took().args == ("again",)


def test_starts_that_cannot_be_counted_keep_no_task_from_running(
    open: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = fakeredis.FakeServer()
    server.connected = False
    monkeypatch.setattr(OverMemory, "store", fakeredis.FakeRedis(server=server))
    open()
    task = quorum.run_background(note)
    took()

    broker = t.cast(t.Any, get_broker(get_state()))._server.broker
    message = make_message("shop", task.id, {"path": "tests.tasks_contract:note"})
    message.kwargs.update(args=["again"], kwargs={}, moment=None)
    message.options["redelivered"] = True
    broker.enqueue(message)

    assert took().args == ("again",)
    assert "task 'tests.tasks_contract:note' cannot be counted" in caplog.text
    assert rest(0.1) == []
    assert get_broker(get_state()).list_letters(get_state()) == []


def test_a_broker_that_is_away_for_long_makes_a_retry_a_dead_letter(
    open: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_PATIENCE", 2)
    open()
    queue = t.cast(DramatiqQueue, get_broker(get_state()))
    quorum.run_background(fail_and_cut, retries=3)

    letter = QueueContract().wait_for_letter(queue)

    assert letter.name == "tests.tasks_contract:fail_and_cut"


def test_a_broker_that_comes_back_gets_the_retry(open: Open) -> None:
    open()

    quorum.run_background(fail_and_cut, [1], retries=3)

    first, second = took(), took()
    assert first.args == second.args == ("cut",)
    assert second.seconds - first.seconds > 0.9


def test_a_task_of_the_far_future_is_held_back_in_slices(
    open: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_SLICE", 0.1)
    enqueue, delays = StubBroker.enqueue, []

    def record(
        self: StubBroker, message: Message, *, delay: int | None = None
    ) -> Message:
        delays.append(delay)
        return enqueue(self, message, delay=delay)

    monkeypatch.setattr(StubBroker, "enqueue", record)
    open()
    start = time.monotonic()

    quorum.run_background(note, target_time=time.time() + 0.5)

    assert took().seconds - start >= 0.49
    assert rest() == []
    assert delays[0] == 100
    assert len(delays) < 20


def test_the_wait_before_a_retry_is_held_back_in_slices_too(
    open: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_SLICE", 0.1)
    open(QUEUE_BACKOFF=1)

    quorum.run_background(fail, ["error"], retries=1)

    assert took().seconds + 0.49 <= took().seconds
    assert rest() == []


def test_an_error_of_the_context_does_not_undo_a_task(
    open: Open, caplog: pytest.LogCaptureFixture
) -> None:
    app = open()

    @app.teardown_appcontext
    def tear_down(error: BaseException | None) -> None:
        raise SystemExit("on purpose")

    quorum.run_background(note, retries=3)

    took()
    assert rest() == []
    assert "The context of the task 'tests.tasks_contract:note' failed." in caplog.text


def test_periodic_work_of_many_processes_is_submitted_once(
    open: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OverMemory, "store", fakeredis.FakeRedis())
    REPEATED.extend([(note, 0.4), (note_once, None)])
    start = time.monotonic()
    for name in ("shop", "blog", "bank"):
        open(name, QUEUE_NAME="shared")

    notes = [took() for _ in range(4)]

    assert [item.args for item in notes].count(("once",)) == 1
    assert notes[3].seconds - start >= 0.7


def test_periodic_work_of_a_process_that_ended_is_taken_over(
    open: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fakeredis.FakeRedis()
    monkeypatch.setattr(OverMemory, "store", store)
    REPEATED.append((note, 3600))
    start = time.monotonic()
    store.set("quorum:shop:repeat:tests.tasks_contract.note", 1, px=400)

    open()

    assert took().seconds - start > 0.39


def test_periodic_work_that_cannot_be_submitted_is_logged_once(
    open: Open, caplog: pytest.LogCaptureFixture
) -> None:
    REPEATED.append((lambda: None, 0.01))
    open()

    quorum.run_background(note)
    took()

    assert rest(1.3) == []
    assert caplog.text.count("was not submitted") == 1
    assert "<lambda>' was not submitted" in caplog.text


def test_periodic_work_that_raises_is_not_tried_again(open: Open) -> None:
    REPEATED.append((fail_once, None))
    open()

    assert took().args == ("error",)
    assert rest() == []


def test_periodic_work_waits_for_its_period_and_no_longer(open: Open) -> None:
    REPEATED.append((note, 0.05))
    open()

    notes = [took() for _ in range(10)]

    assert 0.4 < notes[-1].seconds - notes[0].seconds < 5


def test_a_worker_gives_a_sign_of_life_first_and_then_every_second(open: Open) -> None:
    open()
    server = t.cast(t.Any, get_broker(get_state()))._server

    quorum.run_background(note)
    took()

    assert server.beats
    end = time.monotonic() + PATIENCE
    while len(server.beats) < 3:
        assert time.monotonic() < end
        time.sleep(0.01)
    (_, _), (_, second), (_, third), *_ = server.beats
    assert {queue for queue, _ in server.beats} == {"shop"}
    assert 0.9 < third - second < 1.9


def test_a_worker_runs_as_many_tasks_at_once_as_it_has_threads(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "connect", OverMemory)
    app = make_app(QUEUE_URL="redis://localhost")

    with working(app, threads=1):
        for _ in range(2):
            quorum.run_background(note_and_sleep, [0.3])
        first, second = took(), took()

    assert second.seconds - first.seconds > 0.29


def test_what_runs_when_a_worker_is_told_to_stop_has_time_to_end(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "connect", OverMemory)
    app = make_app(QUEUE_URL="redis://localhost")

    with working(app):
        quorum.run_background(note_and_sleep, [0.5])
        start = took().seconds

    assert time.monotonic() - start > 0.49
    assert "did not end" not in caplog.text


def test_a_queue_can_be_worked_on_again(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "connect", OverMemory)
    app = make_app(QUEUE_URL="redis://localhost")

    for _ in range(2):
        with working(app):
            quorum.run_background(note)
            took()


def test_the_unload_closes_the_connections(open: Open) -> None:
    open()
    server = t.cast(t.Any, get_broker(get_state()))._server

    quorum.unload()

    assert server.closed


def test_the_functions_that_tear_a_context_down_get_the_error_of_the_task(
    open: Open,
) -> None:
    app = open()
    errors: SimpleQueue[BaseException | None] = SimpleQueue()
    app.teardown_appcontext(errors.put)

    quorum.run_background(fail, ["error"])

    assert isinstance(errors.get(timeout=PATIENCE), ValueError)
    took()


def fail_once() -> None:
    """Be a function without arguments that raises."""
    fail("error")


@pytest.mark.parametrize("name", ["_", "shop.Bills_2-x", "shopDQ", "s" * 100])
def test_a_queue_may_have_a_name_of_its_own(make_app: MakeApp, name: str) -> None:
    make_app(QUEUE_NAME=f" {name} ")

    assert get_state().settings(QueueSettings).name == name


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *(
            ("QUEUE_NAME", name)
            for name in ("7up", ".a", "a b", "shop.DQ", "shop.XQ", "ä", "s" * 101)
        ),
        *(("QUEUE_MODULES", names) for names in ("shop,,blog", "shop.1", "a b", "a.")),
    ],
)
def test_a_bad_name_is_reported(make_app: MakeApp, variable: str, value: str) -> None:
    with pytest.raises(quorum.ConfigError, match=rf"^{variable} "):
        make_app(**{variable: value})


def test_functions_of_the_modules_that_are_named_may_run(open: Open) -> None:
    open(QUEUE_MODULES="shop.tasks, json")

    task = quorum.run_background(json.dumps, [1])

    assert task.name == "json.dumps"
    assert rest() == []
    assert get_broker(get_state()).list_letters(get_state()) == []


@pytest.mark.parametrize("scheme", ["redis", "rediss", "amqp", "amqps"])
def test_dramatiq_is_the_engine_of_each_queue(make_app: MakeApp, scheme: str) -> None:
    make_app(QUEUE_URL=f"{scheme}://localhost")

    assert isinstance(get_broker(get_state()), DramatiqQueue)


def test_app_without_periodic_work_needs_no_queue_to_start(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "quorum.engines.dramatiq")
    monkeypatch.setitem(sys.modules, "dramatiq", None)
    app = make_app(QUEUE_URL="redis://localhost")

    assert app.test_client().get("/").status_code == 404


def test_periodic_work_is_submitted_again_when_the_broker_is_back(
    open: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fakeredis.FakeRedis()
    monkeypatch.setattr(OverMemory, "store", store)
    enqueue, calls = StubBroker.enqueue, []

    def refuse_once(self: StubBroker, message: Message, **options: t.Any) -> Message:
        calls.append(message)
        if len(calls) == 1:
            raise GONE
        return enqueue(self, message, **options)

    monkeypatch.setattr(StubBroker, "enqueue", refuse_once)
    REPEATED.append((note, 3600))
    open()

    assert took().args == ()
    assert len(calls) == 2


def test_a_broker_that_does_not_answer_is_an_error_of_ours(
    open: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    open()

    def refuse(self: StubBroker, message: Message, **options: t.Any) -> Message:
        raise GONE

    monkeypatch.setattr(StubBroker, "enqueue", refuse)

    with pytest.raises(ServiceUnavailableError, match="gone"):
        quorum.run_background(note)


def test_a_dead_letter_that_is_no_task_cannot_be_put_back(open: Open) -> None:
    open()
    queue = get_broker(get_state())

    with pytest.raises(quorum.TaskError, match="not one of quorum's"):
        queue.put_back(get_state(), Letter("x", "x", 0, "odd", {}))


def test_a_task_that_is_put_back_begins_anew_and_at_once(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fakeredis.FakeRedis()
    monkeypatch.setattr(engine, "connect", OverMemory)
    monkeypatch.setattr(OverMemory, "store", store)
    make_app("shop", QUEUE_URL="redis://localhost")
    broker = t.cast(DramatiqQueue, get_broker(get_state()))
    server = t.cast(OverMemory, broker._server)
    job = {"path": "tests.tasks_contract:note", "args": [], "kwargs": {}, "retries": 2}
    used = {"tries": 3, "moment": time.time() + 3600, "reason": "odd", "failed": 7.0}
    server.bury(make_message("shop", "one", {**job, **used}))
    store.set("quorum:shop:starts:one", 5)

    broker.put_back(get_state(), Letter("one", "note", 7.0, "odd", {**job, **used}))

    message = dramatiq.Message.decode(server.broker.queues["shop"].get_nowait())
    assert message.message_id == "one"
    assert message.kwargs == {**job, "tries": 0, "moment": None}
    assert store.keys() == []
    assert broker.list_letters(get_state()) == []


def test_dead_letters_are_told_the_oldest_first(open: Open) -> None:
    open()
    queue = t.cast(t.Any, get_broker(get_state()))
    for name in ("second", "third"):
        quorum.run_background(fail, ["error"], description=name)
        took()
        end = time.monotonic() + PATIENCE
        while name not in {letter.name for letter in queue.list_letters(get_state())}:
            assert time.monotonic() < end
            time.sleep(0.01)
    dead = queue._server.dead
    dead.update(reversed([(id, dead.pop(id)) for id in list(dead)]))

    queue._server.bury(make_message("shop", "odd", {}))

    first, *others = queue.list_letters(get_state())
    assert (first.id, first.name, first.moment) == ("odd", ACTOR, 0)
    assert "not one of quorum's, or no worker took it" in first.reason
    assert [letter.name for letter in others] == ["second", "third"]


def test_a_worker_tells_by_name_what_did_not_end_in_time(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "connect", OverMemory)
    app = make_app(QUEUE_URL="redis://localhost", QUEUE_DRAIN=0.1)

    with working(app):
        quorum.run_background(note_and_sleep, [1.0], description="Sleep.")
        took()

    told = "1 of the tasks did not end in the 0.1 seconds of QUEUE_DRAIN"
    assert f"{told}, and will be run again: 'Sleep.'." in caplog.text


def note_and_sleep(seconds: float) -> None:
    """Tell the test that the task runs, and take long."""
    note()
    time.sleep(seconds)


# flask quorum jobs.


def test_jobs_lists_shows_and_puts_back_what_was_given_up(open: Open) -> None:
    app = open()
    task = quorum.run_background(fail, ["error"], description="Pay the bill.")
    took()
    QueueContract().wait_for_letter(get_broker(get_state()))
    run = functools.partial(app.test_cli_runner().invoke, group)

    listed, shown = run(["jobs"]), run(["jobs", task.id])
    (row,) = json.loads(run(["jobs", "--json"]).output)
    done = run(["jobs", task.id, "--retry"])

    assert re.fullmatch(
        rf"{task.id}  [\d-]+T[\d:]+Z  Pay the bill\.: ValueError: error\n",
        listed.output,
    )
    assert "Traceback" in shown.output
    assert "args      ['error']" in shown.output
    assert row["job"]["path"] == "tests.tasks_contract:fail"
    assert done.output == "The task 'Pay the bill.' is in the queue again.\n"
    assert took().args == ("error",)


@pytest.mark.parametrize(
    "failed",
    [1e300, -1e300, float("nan"), "soon", pytest.param(10**400, id="integer")],
)
def test_jobs_lists_a_letter_whose_time_no_clock_can_show(
    open: Open, failed: object
) -> None:
    app = open()
    job = {"name": "Pay.", "reason": "odd", "failed": failed}
    server = t.cast(t.Any, get_broker(get_state()))._server
    server.bury(make_message("shop", "odd", job))

    for arguments in ([], ["odd"], ["--json"]):
        result = app.test_cli_runner().invoke(group, ["jobs", *arguments])
        assert result.exit_code == 0
    result = app.test_cli_runner().invoke(group, ["jobs"])
    assert result.output == "odd  -  Pay.: odd\n"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["no-such"], 1, "Error: There is no dead letter 'no-such'."),
        (["--retry"], 2, "--retry needs the JOB to put back."),
        ([], 0, ""),
    ],
)
def test_jobs_says_what_is_not_there(
    open: Open, arguments: list[str], code: int, text: str
) -> None:
    result = open().test_cli_runner().invoke(group, ["jobs", *arguments])

    assert result.exit_code == code
    assert text in result.output


@pytest.mark.parametrize("command", ["jobs", "worker"])
def test_threads_have_neither_dead_letters_nor_workers(
    make_app: MakeApp, command: str
) -> None:
    result = make_app().test_cli_runner().invoke(group, [command])

    assert result.exit_code == 1
    assert "QUEUE_URL=thread:" in result.output


def test_a_mail_travels_through_a_queue(open: Open) -> None:
    app = open(SMTP_URL="memory:", SMTP_SENDER="shop@example.org")

    quorum.send_mail_a(subject="Hello", receivers=["ann@example.org"], data="Hi, Änn.")

    end = time.monotonic() + PATIENCE
    while not outbox(app):
        assert time.monotonic() < end
        time.sleep(0.01)
    (message,) = outbox(app)
    assert message["Subject"] == "Hello"
    body = message.get_body(("plain",))
    assert body is not None
    assert body.get_content() == "Hi, Änn.\n"
    assert message["To"] == "ann@example.org"
