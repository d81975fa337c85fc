"""dramatiq, over Redis or RabbitMQ: tasks that outlive the process that submits them.

One actor runs all of them. A task that is to be tried again, or that has to wait
longer than a broker likes, is put into the queue once more; one that is given up goes
to the dead letters, with the reason.
"""

import contextlib
import contextvars
import datetime
import logging
import math
import threading
import time
import traceback
import typing as t

import dramatiq
import redis
from dramatiq.middleware import CurrentMessage, Middleware

from quorum import calls
from quorum.engines.brokers import ACTOR, BROKEN, Message, connect, make_message
from quorum.errors import QuorumError, TaskError, UnsupportedError
from quorum.logs import Redactor, get_log
from quorum.queues import LOGGER, QueueSettings
from quorum.state import State, carried_id, get_request_id
from quorum.tasks import Letter, Order, Task

T = t.TypeVar("T")

#: Longest time that a message is held back at once: RabbitMQ takes a consumer that
#: holds one for 30 minutes for dead.
_SLICE: t.Final = 15 * 60.0

#: How often, a second apart, a worker tries to put a task back.
_PATIENCE: t.Final = 30

#: How long a single run of background() keeps other processes from theirs.
_SINGLE: t.Final = 60.0

#: How much earlier than its moment a task may start, in seconds.
_EARLY: t.Final = 0.01

#: The last day that a date can be, in seconds since the epoch.
_LATEST: t.Final = datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC).timestamp()

#: How long the starts of a task are remembered, in seconds.
_REMEMBERED: t.Final = 24 * 3600


class QueuedTask(Task[T]):
    """A task that a worker runs; nobody here knows how far it is."""

    def __init__(self, id: str, name: str) -> None:
        self._id = id
        self._name = name

    @property
    def id(self) -> str:
        """The identifier of the task's message."""
        return self._id

    @property
    def name(self) -> str:
        """What the log calls it."""
        return self._name

    def __repr__(self) -> str:
        return f"<task {self.name}: {self.id}>"


class _Keep(Middleware):
    """Keeps a message whose task could not be dealt with as a dead letter."""

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: dramatiq.broker.MessageProxy,
        *,
        result: object = None,
        exception: BaseException | None = None,
    ) -> None:
        if exception is not None:
            message.fail()


class DramatiqQueue:
    """A queue on a broker, and what a worker does with the tasks in it.

    :param settings: Where the broker is.
    """

    def __init__(self, settings: QueueSettings) -> None:
        self.settings = settings
        self._server = connect(settings, [CurrentMessage(), _Keep()])
        self.address: str = self._server.address
        self._lock = threading.Lock()
        self._name = ""
        #: When to repeat each function, on the monotonic clock.
        self._due: dict[int, float] = {}
        self._running: dict[str, str] = {}

    def submit(self, state: State, order: Order[T]) -> Task[T]:
        """Send a task to the queue.

        :param state: The state of the app.
        :param order: What to run.
        :returns: The task.
        :raises TaskError: If no worker could run it.
        :raises UnsupportedError: If a callback is asked for.
        :raises ServiceUnavailableError: If the broker does not answer; whether it has
            the task is not known then.
        :raises ServiceRefusedError: If the broker refused.
        """
        name = order.name
        if order.callback is not None:
            what = f"A callback with QUEUE_URL={self.settings.scheme}:"
            raise UnsupportedError(what, "Do its work at the end of the task.")
        args, kwargs = list(order.args), order.kwargs
        try:
            calls.check_json(name, "args", args)
            calls.check_json(name, "kwargs", kwargs)
        except RecursionError as error:
            fault = (
                "JSON cannot express its arguments: one holds itself, or is too deep"
            )
            raise TaskError(name, fault) from error
        job = {
            "path": calls.pack(name, order.function, self._modules(state)),
            "args": args,
            "kwargs": kwargs,
            "name": order.description,
            "request_id": get_request_id(),
            "moment": order.moment,
            "retries": order.retries,
            "tries": 0,
        }
        id = dramatiq.message.generate_unique_id()
        try:
            self._send(state, id, job)
        except BROKEN as error:
            raise self._server.explain(error) from error
        return QueuedTask(id, name)

    def repeat(self, state: State) -> None:
        """Do nothing: on a queue it is the workers that repeat.

        :param state: The state of the app.
        """

    def work(self, state: State, threads: int, stop: threading.Event) -> None:
        """Run tasks until told to stop; what runs then has QUEUE_DRAIN seconds to end.

        :param state: The state of the app.
        :param threads: How many threads run tasks.
        :param stop: Set to stop.
        """
        queue = self._declare(state)
        broker = self._server.broker

        def perform(**job: t.Any) -> None:
            self._perform(state, job)

        dramatiq.Actor(
            perform,
            broker=broker,
            actor_name=ACTOR,
            queue_name=queue,
            priority=0,
            options={},
        )
        self._server.beat(queue)
        worker = dramatiq.Worker(
            broker, worker_timeout=self._server.idle, worker_threads=threads
        )
        with _logged("dramatiq"), _logged("pika"):
            worker.start()
            try:
                while not stop.wait(min(1.0, self._repeat(state))):
                    self._server.beat(queue)
            finally:
                worker.stop(timeout=int(self.settings.drain * 1000))
                broker.actors.pop(ACTOR)
                if self._running:
                    names = ", ".join(f"'{name}'" for name in self._running.values())
                    text = "%d of the tasks did not end in the %g seconds of "
                    text += "QUEUE_DRAIN, and will be run again: %s."
                    LOGGER.error(text, len(self._running), self.settings.drain, names)

    def list_letters(self, state: State) -> list[Letter]:
        """Return the dead letters.

        :param state: The state of the app.
        :returns: One for each task that was given up, the oldest first.
        :raises ServiceUnavailableError: If the broker does not answer.
        """
        queue = self._declare(state)
        try:
            letters = [_read_letter(item) for item in self._server.list_dead(queue)]
        except BROKEN as error:
            raise self._server.explain(error) from error
        return sorted(letters, key=lambda letter: letter.moment)

    def put_back(self, state: State, letter: Letter) -> None:
        """Submit a dead letter's task once more, with all of its tries.

        :param state: The state of the app.
        :param letter: The letter.
        :raises TaskError: If it is no task.
        :raises ServiceUnavailableError: If the broker does not answer.
        """
        if "path" not in letter.job:
            raise TaskError(letter.name, "Its message is not one of quorum's")
        job = {**letter.job, "tries": 0, "moment": None}
        for name in ("reason", "failed"):
            job.pop(name, None)
        try:
            queue = self._declare(state)
            self._forget(letter.id)
            self._send(state, letter.id, job)
            # Only that one: the task may have been given up again by now.
            self._server.drop(queue, letter.id, letter.job.get("failed"))
        except BROKEN as error:
            raise self._server.explain(error) from error

    def ping(self) -> None:
        """Ask the broker for an answer.

        :raises ServiceUnavailableError: If it cannot be reached.
        """
        self._server.ping()

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def _modules(self, state: State) -> set[str]:
        """Return the modules whose functions may run."""
        return {*state.packages, *(self.settings.modules or ())}

    def _declare(self, state: State) -> str:
        """Return the name of the queue, which the broker then knows."""
        if not self._name:
            with self._lock:
                name = self.settings.name or calls.name_queue(state.name)
                self._server.broker.declare_queue(name)
                self._name = name
        return self._name

    def _send(self, state: State, id: str, job: dict[str, t.Any]) -> None:
        """Put a task into the queue, to be run at its moment."""
        wait = (job["moment"] or 0) - time.time()
        delay = math.ceil(min(wait, _SLICE) * 1000) if wait > 0 else None
        queue = self._declare(state)
        self._server.broker.enqueue(make_message(queue, id, job), delay=delay)

    def _perform(self, state: State, job: dict[str, t.Any]) -> None:
        """Run what a message says."""
        message = t.cast(Message, CurrentMessage.get_current_message())
        name = job.get("name") or job.get("path") or "?"
        self._running[message.message_id] = name
        try:
            # In a context of its own, so that none finds what another has set.
            contextvars.Context().run(self._run, state, message, job, name)
        finally:
            self._running.pop(message.message_id, None)  # it may be here twice

    def _run(
        self, state: State, message: Message, job: dict[str, t.Any], name: str
    ) -> None:
        id = message.message_id
        carried_id.set(job.get("request_id"))
        if (job.get("moment") or 0) - time.time() > _EARLY:
            _try(lambda: self._send(state, id, job))
            return
        failed: BaseException | None = None
        wait = None
        began = False
        try:
            with state.app.app_context():
                began = True
                try:
                    self._count_start(message, name)
                    function = calls.unpack(job["path"], self._modules(state))
                    Order(function, job["args"], job["kwargs"]).call()
                except BaseException as error:
                    failed = error
                    wait = self._retry_after(error, job, name)
                    raise  # for the functions that tear the context down
        except BaseException as error:
            if not began:  # there was no context to run it in
                failed = error
                wait = self._retry_after(error, job, name)
            elif error is not failed:
                LOGGER.exception("The context of the task '%s' failed.", name)
        if wait is not None:
            job["moment"] = time.time() + wait
            _try(lambda: self._send(state, id, job))
        elif failed is not None:
            text = "".join(traceback.format_exception(failed))
            job["reason"] = Redactor(state.secrets)(text)
            job["failed"] = time.time()
            _try(lambda: self._server.bury(make_message(self._name, id, job)))
        if self._server.was_redelivered(message):
            self._forget(id)

    def _retry_after(
        self, error: BaseException, job: dict[str, t.Any], name: str
    ) -> float | None:
        tries = job["tries"] = job.get("tries", 0) + 1
        return self.settings.retry_after(error, name, tries, job.get("retries", 0))

    def _count_start(self, message: Message, name: str) -> None:
        """Refuse a task that has ended its worker too often.

        The first start is not counted, so that what works is not slowed down: it is
        known of from the message having been delivered before.
        """
        store = self._server.store
        if store is None or not self._server.was_redelivered(message):
            return
        key = self._key("starts", message.message_id)
        try:
            before = store.incr(key)
            store.expire(key, _REMEMBERED)
        except redis.RedisError:
            LOGGER.exception("The starts of the task '%s' cannot be counted.", name)
            return
        if before >= self.settings.starts:
            raise TaskError(name, f"It was started {before} times and never ended")

    def _forget(self, id: str) -> None:
        """Count the starts of a task anew."""
        if self._server.store is not None:
            with contextlib.suppress(redis.RedisError):
                self._server.store.delete(self._key("starts", id))

    def _key(self, kind: str, name: str) -> str:
        return f"quorum:{self._name}:{kind}:{name}"

    def _repeat(self, state: State) -> float:
        """Submit the periodic work that is due; return the seconds to the next."""
        now = time.monotonic()
        for number, (function, seconds) in enumerate(state.repeated):
            if self._due.get(number, 0.0) <= now:
                self._due[number] = now + self._fire(state, function, seconds)
        return max(0.0, min(self._due.values(), default=math.inf) - now)

    def _fire(
        self, state: State, function: t.Callable[[], object], seconds: float | None
    ) -> float:
        """Submit periodic work, unless another process has; return when to look."""
        order = Order(function)
        key, store = self._key("repeat", order.name), self._server.store
        period = math.ceil((seconds or _SINGLE) * 1000)
        try:
            if store is not None and not store.set(key, 1, nx=True, px=period):
                return max(store.pttl(key), 1) / 1000 if seconds else math.inf
            try:
                self.submit(state, order)
            except QuorumError:
                if store is not None:
                    store.delete(key)
                raise
        except (QuorumError, redis.RedisError) as error:
            LOGGER.exception("The periodic task '%s' was not submitted.", order.name)
            return math.inf if isinstance(error, TaskError) else 1.0
        return seconds or math.inf


@contextlib.contextmanager
def _logged(name: str) -> t.Iterator[None]:
    """Have what a library logs go where quorum's own records go."""
    logger = logging.getLogger(name)
    handlers = list(get_log().handlers)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)


def _try(act: t.Callable[[], object]) -> None:
    """Do what needs the broker; only one that is away for long is an error."""
    for attempt in range(_PATIENCE):
        try:
            act()
            return
        except BROKEN:
            if attempt == _PATIENCE - 1:
                raise
            time.sleep(1)


def _read_letter(message: Message) -> Letter:
    """Return what a message among the dead letters says."""
    job = message.kwargs
    unknown = "The message is not one of quorum's, or no worker took it."
    reason = str(job.get("reason") or unknown)
    name = str(job.get("name") or job.get("path") or message.actor_name)
    failed = job.get("failed")
    moment = 0.0
    if isinstance(failed, int | float) and 0 < failed < _LATEST:
        moment = float(failed)
    last = reason.strip().rpartition("\n")[2]
    return Letter(message.message_id, name, moment, last, job)
