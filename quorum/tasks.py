"""Background work: tasks that run outside of the request that submits them."""

import datetime
import math
import sys
import threading
import types
import typing as t
from collections.abc import Callable, Mapping, Sequence

import flask

from quorum.errors import NotLoadedError, TaskError, UnsupportedError
from quorum.queues import QueueSettings
from quorum.service import Engine, Service
from quorum.state import State, get_state

#: run_background() has a parameter of this name.
_is_callable = callable

T = t.TypeVar("T")
F = t.TypeVar("F", bound=Callable[[], object])

#: When a task is to start: seconds since the epoch, or a time with a time zone.
Moment: t.TypeAlias = float | datetime.datetime


class Order(t.NamedTuple, t.Generic[T]):
    """What an engine is asked to run, as :func:`run_background` was told it."""

    function: Callable[..., T]
    args: tuple[t.Any, ...] = ()
    kwargs: dict[str, t.Any] = {}  # noqa: RUF012
    #: When to start, in seconds since the epoch; None is now.
    moment: float | None = None
    callback: Callable[..., object] | None = None
    description: str | None = None
    retries: int = 0

    @property
    def name(self) -> str:
        """What the log calls the task: the description, else the function's name."""
        function: t.Any = self.function
        if not hasattr(function, "__qualname__"):  # its repr could show arguments
            function = getattr(function, "func", type(function))
        name = getattr(function, "__qualname__", type(function).__qualname__)
        return self.description or f"{function.__module__}.{name}"

    def call(self) -> T:
        """Call the function; what a coroutine function returns is run to its end."""
        value = self.function(*self.args, **self.kwargs)
        if isinstance(value, types.CoroutineType):
            import asyncio  # slow to import, and seldom needed

            return t.cast(T, asyncio.run(value))
        return value


class Task(t.Generic[T]):
    """A task that was submitted; :func:`run_background` returns it.

    What it can tell depends on the engine: on a queue only the properties ``id`` and
    ``name`` are to be had.
    """

    @property
    def id(self) -> str:
        """The identifier of the task."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """What the log calls it: its description, else its function's name."""
        raise NotImplementedError

    @property
    def state(self) -> str:
        """How far it is.

        ``'waiting'`` (also between two tries), ``'running'``, ``'done'``, ``'failed'``,
        ``'cancelled'``, or ``'dropped'`` when its process ended before it could run.
        """
        raise _unsupported("The state of a task")

    def result(self, timeout: float | None = None) -> T:
        """Wait for the end of the task, and return what its function returned.

        What the function raised in its last try is raised here. A task that waits
        for others can take the only free worker from them.

        :param timeout: Seconds to wait; None waits without end. When they are over,
            a ``TimeoutError`` is raised.
        :returns: What the function returned.
        :raises TaskNotRunError: If the task was cancelled or dropped.
        :raises UnsupportedError: If the engine keeps no results.
        """
        raise _unsupported("The result of a task")

    def cancel(self) -> bool:
        """Keep the task from running, unless it has begun.

        :returns: Whether it will not run (again).
        :raises UnsupportedError: If the engine cannot take a task back.
        """
        raise _unsupported("Cancelling a task")


class Queue(Engine, t.Protocol):
    """What an engine of background work offers."""

    def submit(self, state: State, order: Order[T]) -> Task[T]:
        """Take a task."""
        ...

    def repeat(self, state: State) -> None:
        """Start the periodic work of the app that was not started yet."""
        ...


class Letter(t.NamedTuple):
    """A dead letter: a task that was given up, or a message that is none."""

    id: str
    name: str
    #: When it was given up, in seconds since the epoch; 0 when that cannot be told.
    moment: float
    #: The last line of the reason.
    reason: str
    #: What the message says, the whole reason included.
    job: dict[str, t.Any]


class Broker(Queue, t.Protocol):
    """What an engine offers whose tasks are run by workers."""

    def work(self, state: State, threads: int, stop: threading.Event) -> None:
        """Run tasks until told to stop."""
        ...

    def list_letters(self, state: State) -> list[Letter]:
        """Return the dead letters."""
        ...

    def put_back(self, state: State, letter: Letter) -> None:
        """Submit a dead letter's task once more."""
        ...


def get_broker(state: State) -> Broker:
    """Return the engine of an app whose tasks are run by workers.

    :param state: The state of the app.
    :returns: The engine.
    :raises UnsupportedError: If tasks run in threads.
    """
    handle = state.handle(SERVICE)
    if handle.settings.scheme == "thread":
        what = "What belongs to a queue, with QUEUE_URL=thread:,"
        raise UnsupportedError(what, "Set it to redis://… or amqp://….")
    return t.cast(Broker, handle.engine)


_DRAMATIQ: t.Final = "quorum.engines.dramatiq:DramatiqQueue"

SERVICE: t.Final[Service[QueueSettings, Queue]] = Service(
    "queue",
    QueueSettings,
    {
        "thread": "quorum.engines.threads:ThreadQueue",
        **dict.fromkeys(("redis", "rediss", "amqp", "amqps"), _DRAMATIQ),
    },
)


def run_background(
    callable: Callable[..., T],
    args: Sequence[t.Any] = (),
    kwargs: Mapping[str, t.Any] | None = None,
    target_time: Moment | None = None,
    callback: Callable[..., object] | None = None,
    description: str | None = None,
    *,
    retries: int = 0,
) -> Task[T]:
    """Run a function outside of this request, in a thread or by a worker of a queue.

    It runs in the context of the app in use, and its log records have the identifier
    of this request. What it raises is logged with its name. QUEUE_URL says where it
    runs. A coroutine function is run to its end.

    :param callable: The function. On a queue it has to be one of a module.
    :param args: Its arguments. On a queue they have to be what JSON can express.
    :param kwargs: Its keyword arguments, under the same rule.
    :param target_time: When to start: seconds since the epoch, as ``time.time()``
        gives them, or a ``datetime`` with a time zone. A time that has passed, and
        None, are now.
    :param callback: Called in the same thread after the last try, as
        ``callback(error=…)`` with what the function raised, or None.
    :param description: What the log calls the task; by default the function's name.
    :param retries: How often to try again after an error, with waits that double,
        beginning with QUEUE_BACKOFF seconds. An error whose ``retryable`` is false,
        as that of :exc:`ServiceRefusedError`, is not tried again.
    :returns: The task.
    :raises TaskError: If it cannot be taken as it is; it says what to change.
    :raises ExecutionDisabledError: If it would run in a thread, and the app was
        loaded with ``execution=False``.
    :raises ServiceUnavailableError: If QUEUE_LIMIT tasks wait already.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    state = get_state()
    moment, fault = (None, "") if target_time is None else _read_moment(target_time)
    if not _is_callable(callable):
        fault = "It is not callable"
    elif isinstance(args, str | bytes) or not hasattr(args, "__iter__"):
        fault = "Its args are no list or tuple"
    elif kwargs is not None and not isinstance(kwargs, Mapping):
        fault = "Its kwargs are no dictionary"
    elif type(retries) is not int or retries < 0:
        fault = "Its retries are no whole number from 0"
    elif callback is not None and not _is_callable(callback):
        fault = "Its callback is not callable"
    if fault:
        raise TaskError(Order(callable, description=description).name, fault)
    order = Order(
        callable,
        tuple(args),
        dict(kwargs) if kwargs else {},
        moment,
        callback,
        description,
        retries,
    )
    return state.handle(SERVICE).engine.submit(state, order)


#: The name that upstream has for it as well.
run_back = run_background


def background(timeout: float | None = None) -> Callable[[F], F]:
    """Run the decorated function again and again, beginning when the app starts.

    It runs in the app's context. The app starts with :func:`run`, or with the first
    request that a process serves. In threads it runs in every such process. A run
    that takes longer delays the next one, and one that raises is logged and ends
    nothing.

    :param timeout: Seconds from one start to the next; None for a single run.
    :returns: The decorator, which returns the function as it is.
    :raises TaskError: If ``timeout`` is not a number above 0, or the function itself.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    if callable(timeout):
        raise TaskError(Order(timeout).name, "Write @background(), with parentheses")

    def register(function: F) -> F:
        if not (timeout is None or _is_period(timeout)):
            fault = "Its timeout is not a number of seconds above 0"
            raise TaskError(Order(function).name, fault)
        try:
            add_repeated(get_state(), function, timeout)
        except NotLoadedError:
            REPEATED.append((function, timeout))
        return function

    return register


#: Registered by ``background`` while no app was loaded.
REPEATED: t.Final[list[tuple[Callable[[], object], float | None]]] = []


def add_repeated(
    state: State, function: Callable[[], object], seconds: float | None
) -> None:
    """Have a function repeated in an app from its start on.

    :param state: The state of the app.
    :param function: The function.
    :param seconds: From one start to the next; None for a single run.
    """
    if not state.repeated:

        def start(app: flask.Flask, **extra: object) -> None:
            start_repeated(state)

        flask.request_started.connect(start, state.app, weak=False)
        # Given the sender, it would keep the receiver, and with it the app.
        state.stack.callback(flask.request_started.disconnect, start)
    state.repeated.append((function, seconds))


def start_repeated(state: State) -> None:
    """Start the periodic work of an app in this process, if it may run here.

    :param state: The state of the app.
    """
    if state.repeated and state.execution:
        state.handle(SERVICE).engine.repeat(state)


def _is_period(seconds: object) -> bool:
    return isinstance(seconds, int | float) and 0 < seconds < math.inf


def _read_moment(moment: Moment) -> tuple[float | None, str]:
    """Return a moment as seconds since the epoch, and what is wrong with it."""
    if isinstance(moment, datetime.datetime):
        if moment.tzinfo is None:
            return None, "Its target_time has no time zone"
        return moment.timestamp(), ""
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        return None, "Its target_time is neither a number nor a datetime"
    if not abs(moment) <= sys.float_info.max:
        return None, "Its target_time is not finite"
    return moment, ""


def _unsupported(what: str) -> UnsupportedError:
    return UnsupportedError(f"{what} on a queue", "It is for QUEUE_URL=thread: only.")
