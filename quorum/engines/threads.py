"""Threads of this process, which run tasks."""

import atexit
import collections
import contextvars
import heapq
import itertools
import math
import os
import queue
import threading
import time
import typing as t

import flask

from quorum.errors import (
    ExecutionDisabledError,
    ServiceUnavailableError,
    TaskNotRunError,
)
from quorum.queues import LOGGER, QueueSettings
from quorum.state import State, carried_id, get_request_id
from quorum.tasks import Order, Task

T = t.TypeVar("T")

_ENDED: t.Final = frozenset({"done", "failed", "cancelled", "dropped"})

#: Seconds in which a thread without work ends when it is told to.
_JOIN: t.Final = 5.0


class ThreadTask(Task[t.Any]):
    """A task in the memory of this process."""

    how_far: str = "waiting"
    tries: int = 0
    #: When it is planned for, on the monotonic clock.
    due: float = 0.0
    #: Seconds from one start to the next, of periodic work.
    every: float | None = None
    value: t.Any = None
    error: BaseException | None = None
    #: Made by who waits for the end.
    ended: threading.Event | None = None

    def __init__(
        self, queue: "ThreadQueue", app: flask.Flask, order: Order[t.Any]
    ) -> None:
        self._queue = queue
        self.app = app
        self.order = order
        self.request_id: str | None = get_request_id()
        self.number: int = next(_numbers)

    @property
    def id(self) -> str:
        """A number that no other task of the process has."""
        return str(self.number)

    @property
    def name(self) -> str:
        """What the log calls it."""
        return self.order.name

    @property
    def state(self) -> str:
        """How far it is."""
        return self.how_far

    def result(self, timeout: float | None = None) -> t.Any:
        """Wait for the end of the task, and return what its function returned.

        :param timeout: Seconds to wait; None waits without end.
        :returns: What the function returned.
        :raises TaskNotRunError: If the task was cancelled or dropped.
        """
        if not self._queue.wait(self, timeout):
            raise TimeoutError(f"The task '{self.name}' has not ended yet.")
        if self.how_far not in ("done", "failed"):
            raise TaskNotRunError(self.name, self.how_far) from self.error
        if self.error is not None:
            raise self.error
        return self.value

    def cancel(self) -> bool:
        """Keep the task from running, unless it has begun.

        :returns: Whether it will not run (again).
        """
        return self._queue.cancel(self)

    def __lt__(self, other: "ThreadTask") -> bool:
        return (self.due, self.number) < (other.due, other.number)

    def __repr__(self) -> str:
        return f"<task {self.name}: {self.how_far}>"


_numbers = itertools.count(1)


class ThreadQueue:
    """Worker threads that share a queue, and one that waits for planned starts.

    They start with the first task. Nobody polls: each sleeps until there is work.
    What every task goes through takes no lock, as its waiters would slow all of them:
    to remove a task from those that wait is to be the only one who may deal with it.

    :param settings: How many threads, and how many tasks may wait.
    """

    def __init__(self, settings: QueueSettings) -> None:
        self.settings = settings
        self.address: str = "thread:"
        self._pid = os.getpid()
        self._limit = settings.limit
        self._most = settings.workers + 1
        self._lock = threading.Lock()
        self._planned = threading.Condition(self._lock)
        self._idle = threading.Condition(self._lock)
        self._ready: queue.SimpleQueue[ThreadTask | None] = queue.SimpleQueue()
        self._heap: list[ThreadTask] = []
        self._threads: list[threading.Thread] = []
        #: Every task that has not ended is in one of these.
        self._waiting: dict[ThreadTask, None] = {}
        #: By thread, as a task that is run again may be in two for a moment.
        self._running: dict[threading.Thread, ThreadTask] = {}
        self._repeated = 0
        #: What would start later than this is dropped.
        self._deadline = math.inf
        self._dropped: list[ThreadTask] = []
        self._closed = False
        self._offset = 0.0

    def submit(self, state: State, order: Order[T]) -> Task[T]:
        """Take a task.

        :param state: The state of the app.
        :param order: What to run.
        :returns: The task.
        :raises ExecutionDisabledError: If tasks may not run in this process.
        :raises ServiceUnavailableError: If too many tasks wait, or the app is being
            unloaded.
        """
        if not state.execution:
            raise ExecutionDisabledError(state.name)
        if len(self._threads) < self._most:
            self._start()
        if len(self._waiting) >= self._limit:
            reason = f"{self._limit} tasks wait, and QUEUE_LIMIT allows no more"
            raise ServiceUnavailableError("queue", "", 0, reason)
        task = ThreadTask(self, state.app, order)
        if order.moment is None:
            self._waiting[task] = None
            self._ready.put(task)
        else:
            # Even one that is due: those of the same moment keep their order.
            self._plan(task, order.moment - self._measure_offset())
        # Asked last: what came in before the end is reported there.
        if self._closed and self._claim(task):
            raise ServiceUnavailableError("queue", "", 0, "the app is being unloaded")
        return t.cast(Task[T], task)

    def repeat(self, state: State) -> None:
        """Start the periodic work of the app that was not started yet.

        :param state: The state of the app.
        """
        if self._repeated == len(state.repeated):
            return
        self._start()
        with self._lock:
            new = state.repeated[self._repeated :]
            self._repeated += len(new)
        for function, seconds in new:
            task = ThreadTask(self, state.app, Order(function))
            task.request_id = None
            task.every = seconds
            self._plan(task, time.monotonic())

    def wait(self, task: ThreadTask, timeout: float | None) -> bool:
        """Wait for the end of a task.

        :param task: The task.
        :param timeout: Seconds to wait; None waits without end.
        :returns: Whether it has ended.
        """
        with self._lock:
            if task.ended is None:
                task.ended = threading.Event()
        # Asked after that was made, as it may have ended before.
        return task.how_far in _ENDED or task.ended.wait(timeout)

    def join(self, timeout: float) -> list[str]:
        """Wait for all tasks, those that they submit included, but no periodic ones.

        :param timeout: Seconds to wait. What starts later is not waited for.
        :returns: Names of the tasks that have not ended then.
        """
        end = time.monotonic() + timeout
        while True:
            number = next(_numbers)
            # Twice those that wait, as one that runs may be going to wait again.
            places = (self._waiting, self._running.values(), self._waiting)
            found = [task for place in places for task in list(place)]
            tasks = [task for task in found if task.every is None and task.due <= end]
            if not tasks and next(_numbers) == number + 1:  # nobody has made one
                return []
            for task in tasks:
                if not self.wait(task, max(0, end - time.monotonic())):
                    return [each.name for each in dict.fromkeys(tasks)]

    def cancel(self, task: ThreadTask) -> bool:
        """Keep a task from running, unless it has begun.

        :param task: The task.
        :returns: Whether it will not run (again).
        """
        if self._claim(task):
            _end(task, "cancelled")
            with self._lock:
                if task in self._heap:
                    self._heap.remove(task)
                    heapq.heapify(self._heap)
        return task.how_far == "cancelled"

    def ping(self) -> None:
        """Do nothing: the threads are in this process."""

    def close(self) -> None:
        """Let tasks come to their end for QUEUE_DRAIN seconds, and end the threads.

        What did not run is logged by name. Periodic work ends without a word.
        """
        if os.getpid() != self._pid:
            return  # the threads are the parent's
        atexit.unregister(self.close)
        here = threading.current_thread()
        with self._lock:
            if self._closed:
                return
            self._deadline = time.monotonic() + self.settings.drain
            for task in list(self._waiting):
                if task.every is not None or task.due > self._deadline:
                    self._drop(task)
            own = here in self._running  # a task that unloads its app is one of them
            self._idle.wait_for(
                lambda: not self._waiting and len(self._running) <= own,
                self.settings.drain,
            )
            self._closed = True
            for task in list(self._waiting):
                self._drop(task)
            self._planned.notify()
            running = [
                task for thread, task in list(self._running.items()) if thread != here
            ]
        self._report("run", self._dropped)
        self._report("end", running)
        for _ in self._threads:
            self._ready.put(None)
        for thread in self._threads:
            if not running and thread is not here:
                thread.join(_JOIN)

    def _start(self) -> None:
        """Start the threads that do not run yet; one worker is enough to go on."""
        jobs = [self._keep_time, *[self._work] * self.settings.workers]
        with self._lock:
            for number in range(len(self._threads), self._most):
                name = f"quorum-task-{number}"
                thread = threading.Thread(target=jobs[number], name=name, daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # too many, or the interpreter ends
                    if len(self._threads) > 1:
                        return
                    raise ServiceUnavailableError("queue", "", 0, str(error)) from error
                if not self._threads:
                    atexit.register(self.close)
                self._threads.append(thread)

    def _claim(self, task: ThreadTask) -> bool:
        """Remove a task from those that wait; only one thread is told that it has."""
        return self._waiting.pop(task, self) is None

    def _measure_offset(self) -> float:
        """Return the wall clock's lead; the same one while nobody sets that clock.

        Else tasks of the same moment could change places by a microsecond.
        """
        offset = time.time() - time.monotonic()
        if abs(offset - self._offset) > 0.01:
            self._offset = offset
        return self._offset

    def _plan(self, task: ThreadTask, due: float) -> None:
        """Have a task wait for a moment of the monotonic clock."""
        task.due = due
        task.how_far = "waiting"
        self._waiting[task] = None
        with self._lock:
            if due > self._deadline or (task.every and self._deadline < math.inf):
                self._drop(task)
                return
            heapq.heappush(self._heap, task)
            if self._heap[0] is task:
                self._planned.notify()

    def _drop(self, task: ThreadTask) -> None:
        """Let go of a task that comes too late."""
        if self._claim(task):
            _end(task, "dropped")
            if task.every is None:
                self._dropped.append(task)

    def _report(self, what: str, tasks: list[ThreadTask]) -> None:
        if tasks:
            counts = collections.Counter(task.name for task in tasks).items()
            names = ", ".join(f"'{name}' ({count})" for name, count in counts)
            text = "%d of the tasks did not %s in the %g seconds of QUEUE_DRAIN: %s."
            with tasks[0].app.app_context():
                LOGGER.error(text, len(tasks), what, self.settings.drain, names)

    def _keep_time(self) -> None:
        """Hand over what is planned when it is due."""
        with self._lock:
            while not self._closed:
                now = time.monotonic()
                while self._heap and self._heap[0].due <= now:
                    self._ready.put(heapq.heappop(self._heap))
                wait = self._heap[0].due - now if self._heap else threading.TIMEOUT_MAX
                self._planned.wait(min(wait, threading.TIMEOUT_MAX))

    def _work(self) -> None:
        """Run what is ready, until there is an end to it."""
        get = self._ready.get
        here = threading.current_thread()
        while (task := get()) is not None:
            self._running[here] = task
            if self._claim(task):
                task.how_far = "running"
                # Each in a context of its own: none finds what another has set.
                try:
                    again = contextvars.Context().run(self._run, task)
                except BaseException as error:  # somebody's handler of the log's
                    task.error, again = error, None
                if task.every is not None:
                    again = max(task.due + task.every, time.monotonic())
                if again is None:
                    _end(task, "done" if task.error is None else "failed")
                else:
                    self._plan(task, again)
            del self._running[here]
            if self._deadline < math.inf:
                with self._lock:
                    self._idle.notify_all()
            del task  # while this waits for the next one

    def _run(self, task: ThreadTask) -> float | None:
        """Run a task; return when to run it again, None for never."""
        carried_id.set(task.request_id)
        task.tries += 1
        task.error = again = None
        began = False
        try:
            with task.app.app_context():
                began = True
                try:
                    task.value = task.order.call()
                except BaseException as error:
                    again = self._fail(task, error)
                    raise  # for the functions that tear the context down
                finally:
                    if again is None:
                        _call_back(task)
        except BaseException as error:
            if not began:  # there was no context to run it in
                again = self._fail(task, error)
                if again is None:
                    _call_back(task)
            elif error is not t.cast("BaseException | None", task.error):
                LOGGER.exception("The context of the task '%s' failed.", task.name)
        return again

    def _fail(self, task: ThreadTask, error: BaseException) -> float | None:
        """Note what a task raised; return when to run it again, None for never."""
        task.error = error
        wait = self.settings.retry_after(
            error, task.name, task.tries, task.order.retries
        )
        return None if wait is None else time.monotonic() + wait


def _end(task: ThreadTask, how: str) -> None:
    """Note that a task has ended, and wake who waits for it."""
    task.how_far = how
    if task.ended is not None:
        task.ended.set()


def _call_back(task: ThreadTask) -> None:
    if task.order.callback is not None:
        try:
            task.order.callback(error=task.error)
        except BaseException:
            LOGGER.exception("The callback of the task '%s' failed.", task.name)
