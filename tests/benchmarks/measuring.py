"""The registry of benchmarks, and how they compare and count."""

import contextlib
import gc
import statistics
import sys
import time
import typing as t
from collections.abc import Callable, Iterator

import flask

import quorum

T = t.TypeVar("T")

#: Makes a number of calls, and returns the seconds that they took.
Chunk: t.TypeAlias = Callable[[int], float]

#: Chunks are as short as the clock allows, so that few of them are interrupted.
_CHUNK_SECONDS = 0.002


class Effort(t.NamedTuple):
    """How long a comparison goes on: until both are reached."""

    seconds: float = 2.0
    rounds: int = 15


class Ratio(t.NamedTuple):
    """The median ratio of a subject to its limit, and the noise in it.

    :param value: The ratio.
    :param itself: The same of the limit to itself; 1.0 but for the noise.
    :param spread: Half of the limit's ratios to itself are this close to their median.
    """

    value: float
    itself: float
    spread: float


class Row(t.NamedTuple):
    """A result: a ratio or an exact count, and a goal such as ``'<= 1.05'``."""

    name: str
    result: Ratio | int
    goal: str = ""

    @property
    def exact(self) -> bool:
        """Whether it is a count, which is the same in every run."""
        return isinstance(self.result, int)

    @property
    def value(self) -> float:
        """The number to hold against the goal."""
        return self.result if isinstance(self.result, int) else self.result.value

    @property
    def ok(self) -> bool:
        """Whether the goal is reached, if there is one."""
        sign, _, bound = self.goal.partition(" ")
        if sign == ">=":
            return self.value >= float(bound)
        return not sign or self.value <= float(bound)


Benchmark: t.TypeAlias = Callable[[Effort], Iterator[Row]]

BENCHMARKS: t.Final[dict[str, Benchmark]] = {}

#: The names of those that start a server of their own.
SERVED: t.Final[set[str]] = set()


def benchmark(name: str, *, served: bool = False) -> Callable[[Benchmark], Benchmark]:
    """Register the decorated function as the benchmark of that name.

    :param name: The name.
    :param served: Whether it needs a server that an extra does not bring.
    :returns: The decorator.
    """

    def register(function: Benchmark) -> Benchmark:
        BENCHMARKS[name] = function
        SERVED.update({name} if served else ())
        return function

    return register


def timed(
    call: Callable[[], T],
    undo: Callable[[T], object] | None = None,
    *,
    clock: Callable[[], float] = time.process_time,
) -> Chunk:
    """Return a chunk of calls.

    :param call: What is timed.
    :param undo: Takes what the call has returned; its own time does not count.
    :param clock: Tells the time of the processor, which other programs hardly touch.
        What waits, for a server or a thread, takes ``time.perf_counter``.
    :returns: The chunk.
    """

    def chunk(calls: int) -> float:
        if undo is not None:
            return sum(undone_call(undo) for _ in range(calls))
        start = clock()
        for _ in range(calls):
            call()
        return clock() - start

    def undone_call(undo: Callable[[T], object]) -> float:
        start = clock()
        made = call()
        seconds = clock() - start
        undo(made)
        return seconds

    return chunk


def compare(
    subject: Chunk, limit: Chunk, effort: Effort, *, rates: bool = False
) -> Ratio:
    """Compare two things in turns, so that what slows the machine slows both.

    Each round is a chunk of the limit, one of the subject, and one of the limit.

    :param subject: What the ratio is of.
    :param limit: What it is held against.
    :param effort: How long to go on.
    :param rates: Whether to compare calls per second, not seconds per call.
    :returns: The medians of the ratios of neighbouring chunks.
    """
    for chunk in (limit, subject):
        chunk(1)  # what the first call does once
    calls = 1
    while min(limit(calls) for _ in range(3)) < _CHUNK_SECONDS:
        calls *= 2
    ratios: list[float] = []
    noise: list[float] = []
    end = time.monotonic() + effort.seconds
    while len(noise) < effort.rounds or time.monotonic() < end:
        before, taken, after = limit(calls), subject(calls), limit(calls)
        ratios += [taken / before, taken / after]
        noise.append(after / before)
    value, itself = statistics.median(ratios), statistics.median(noise)
    spread = statistics.median(abs(ratio - itself) for ratio in noise)
    return Ratio(1 / value if rates else value, itself, spread)


def count_calls(call: Callable[[], object]) -> int:
    """Count the function calls that one call makes, those of C functions too."""
    calls = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    call()
    gc.disable()  # a collection would finalize the garbage of others
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


@contextlib.contextmanager
def loaded(app: flask.Flask, **keywords: t.Any) -> Iterator[flask.Flask]:
    """Load an app for the length of a ``with`` block."""
    quorum.load(app, **keywords)
    try:
        yield app
    finally:
        quorum.unload(app=app)
