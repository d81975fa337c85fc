"""Threads of this process, which run tasks."""

import atexit
import collections
import contextlib
import contextvars
import heapq
import itertools
import logging
import math
import os
import queue
import threading
import time
import typing as t
from collections.abc import Iterator

import flask

from quorum.errors import (
    ExecutionDisabledError,
    ServiceUnavailableError,
    TaskNotRunError,
)
from quorum.state import State, carried_id, get_request_id
from quorum.tasks import Order, QueueSettings, Task

T = t.TypeVar("T")

LOGGER: t.Final = logging.getLogger("quorum.tasks")

_ENDED: t.Final = frozenset({"done", "failed", "cancelled", "dropped"})

#: Seconds in which a thread without work ends when it is told to.
_JOIN: t.Final = 5.0


class ThreadTask(Task[t.Any]):
    """A task in the memory of this process."""

    __slots__ = (
        "_queue",
        "app",
        "due",
        "ended",
        "error",
        "every",
        "how_far",
        "number",
        "order",
        "request_id",
        "tries",
        "value",
    )

    def __init__(
        self, queue: "ThreadQueue", app: flask.Flask, order: Order[t.Any]
    ) -> None:
        self._queue = queue
        self.app = app
        self.order = order
        self.request_id = get_request_id()
        self.number = next(_numbers)
        self.how_far = "waiting"
        self.tries = 0
        self.due = 0.0
        self.every: float | None = None
        self.value: t.Any = None
        self.error: BaseException | None = None
        #: Made by who waits for the end.
        self.ended: threading.Event | None = None

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
        if self.error is not None:
            raise self.error
        if self.how_far != "done":
            raise TaskNotRunError(self.name, self.how_far)
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

    :param settings: How many threads, and how many tasks may wait.
    """

    def __init__(self, settings: QueueSettings) -> None:
        self.settings = settings
        self.address: str = "thread:"
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._planned = threading.Condition(self._lock)
        self._idle = threading.Condition(self._lock)
        self._ready: queue.SimpleQueue[ThreadTask | None] = queue.SimpleQueue()
        self._heap: list[ThreadTask] = []
        self._threads: list[threading.Thread] = []
        self._running: set[ThreadTask] = set()
        #: Tasks that have not ended; of the periodic ones only those that run.
        self._unfinished = 0
        self._repeated = 0
        #: What would start later than this is dropped.
        self._deadline = math.inf
        self._dropped: list[ThreadTask] = []
        self._closed = False
        self._offset = time.time() - time.monotonic()

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
        task = ThreadTask(self, state.app, order)
        with self._lock:
            self._start()
            limit = self.settings.limit
            if self._ready.qsize() + len(self._heap) >= limit:
                reason = f"{limit} tasks wait, and QUEUE_LIMIT allows no more"
                raise ServiceUnavailableError("queue", "", 0, reason)
            self._unfinished += 1
            if order.moment is None:
                self._ready.put(task)
            else:
                # Even one that is due: those of the same moment keep their order.
                self._plan(task, order.moment - self._measure_offset())
        return t.cast(Task[T], task)

    def repeat(self, state: State) -> None:
        """Start the periodic work of the app that was not started yet.

        :param state: The state of the app.
        """
        if self._repeated == len(state.repeated):
            return
        with self._lock:
            self._start()
            for function, seconds in state.repeated[self._repeated :]:
                self._repeated += 1
                task = ThreadTask(self, state.app, Order(function))
                task.request_id = None
                task.every = seconds
                self._unfinished += seconds is None
                self._plan(task, time.monotonic())

    def wait(self, task: ThreadTask, timeout: float | None) -> bool:
        """Wait for the end of a task.

        :param task: The task.
        :param timeout: Seconds to wait; None waits without end.
        :returns: Whether it has ended.
        """
        with self._lock:
            if task.how_far in _ENDED:
                return True
            if task.ended is None:
                task.ended = threading.Event()
        return task.ended.wait(timeout)

    def cancel(self, task: ThreadTask) -> bool:
        """Keep a task from running, unless it has begun.

        :param task: The task.
        :returns: Whether it will not run (again).
        """
        with self._lock:
            if task.how_far == "waiting":
                if task in self._heap:
                    self._heap.remove(task)
                    heapq.heapify(self._heap)
                self._end(task, "cancelled")
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
            if self._closed or not self._threads:
                self._closed = True
                return
            self._deadline = time.monotonic() + self.settings.drain
            planned, self._heap = self._heap, []
            for task in planned:
                self._plan(task, task.due)
            own = (
                here in self._threads
            )  # a task unloads its app, and would wait for itself
            self._idle.wait_for(lambda: self._unfinished <= own, self.settings.drain)
            self._closed = True
            self._planned.notify()
            for task in (*self._heap, *self._take_ready()):
                self._drop(task)
            for _ in self._threads:
                self._ready.put(None)
            running = [task for task in self._running if not own]
        self._report("run", self._dropped)
        self._report("end", running)
        for thread in self._threads:
            if not running and thread is not here:
                thread.join(_JOIN)

    def _start(self) -> None:
        """Start the threads unless they run; the lock is held."""
        if self._closed:
            reason = "the app is being unloaded"
            raise ServiceUnavailableError("queue", "", 0, reason)
        if self._threads:
            return
        jobs = [self._keep_time, *[self._work] * self.settings.workers]
        for number, job in enumerate(jobs):
            name = f"quorum-task-{number}"
            thread = threading.Thread(target=job, name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # too many threads, or the end is near
                for _ in self._threads:
                    self._ready.put(None)
                self._closed = True
                self._planned.notify()
                raise ServiceUnavailableError("queue", "", 0, str(error)) from error
            self._threads.append(thread)
        atexit.register(self.close)

    def _measure_offset(self) -> float:
        """Return the wall clock's lead; the same one while nobody sets that clock.

        Else tasks of the same moment could change places by a microsecond.
        """
        offset = time.time() - time.monotonic()
        if abs(offset - self._offset) > 0.01:
            self._offset = offset
        return self._offset

    def _plan(self, task: ThreadTask, due: float) -> None:
        """Have a task wait for a moment of the monotonic clock; the lock is held."""
        task.due = due
        task.how_far = "waiting"
        if due > self._deadline:
            self._drop(task)
            return
        heapq.heappush(self._heap, task)
        if self._heap[0] is task:
            self._planned.notify()

    def _take_ready(self) -> Iterator[ThreadTask]:
        """Empty the queue."""
        with contextlib.suppress(queue.Empty):
            while True:
                task = self._ready.get_nowait()
                if task is not None and task.how_far == "waiting":
                    yield task

    def _drop(self, task: ThreadTask) -> None:
        """Let go of a task that comes too late; the lock is held."""
        if task.every is None:
            self._dropped.append(task)
            self._end(task, "dropped")

    def _end(self, task: ThreadTask, how: str) -> None:
        """Note that a task has ended, and wake who waits for it; the lock is held."""
        task.how_far = how
        self._unfinished -= 1
        if task.ended is not None:
            task.ended.set()
        if self._unfinished <= 1:
            self._idle.notify_all()

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
        while (task := get()) is not None:
            with self._lock:
                if task.how_far != "waiting":
                    continue
                task.how_far = "running"
                self._running.add(task)
                self._unfinished += task.every is not None
            # Each in a context of its own, so that none finds what another has set.
            again = contextvars.Context().run(self._run, task)
            with self._lock:
                self._running.discard(task)
                if again is None or self._closed or task.every is not None:
                    self._end(task, "done" if task.error is None else "failed")
                if again is not None and not self._closed:
                    self._plan(task, again)
            del task  # while this waits for the next one

    def _run(self, task: ThreadTask) -> float | None:
        """Run a task; return when to run it again, None for never."""
        carried_id.set(task.request_id)
        task.tries += 1
        task.error = again = None
        try:
            with task.app.app_context():
                try:
                    task.value = task.order.call()
                except BaseException as error:
                    task.error = error
                    again = self._after_error(task, error)
                    raise  # for the functions that tear the context down
                finally:
                    if again is None:
                        _call_back(task)
        except BaseException as error:
            if error is not task.error:
                LOGGER.exception("The context of the task '%s' failed.", task.name)
        if task.every is not None:
            return max(task.due + task.every, time.monotonic())
        return again

    def _after_error(self, task: ThreadTask, error: BaseException) -> float | None:
        """Log what a task raised; return when to try it again, None for never."""
        may = isinstance(error, Exception) and getattr(error, "retryable", True)
        if task.tries > task.order.retries or not may:
            LOGGER.error("The task '%s' failed.", task.name, exc_info=error)
            return None
        wait = self.settings.retry_after(task.tries)
        text = "The task '%s' failed, and is tried again in %.1f seconds (%d of %d)."
        LOGGER.warning(
            text, task.name, wait, task.tries, task.order.retries, exc_info=error
        )
        return time.monotonic() + wait


def _call_back(task: ThreadTask) -> None:
    if task.order.callback is not None:
        try:
            task.order.callback(error=task.error)
        except BaseException:
            LOGGER.exception("The callback of the task '%s' failed.", task.name)
