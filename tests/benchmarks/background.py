"""What a task costs in threads, beside a bare queue with as many of them."""

import concurrent.futures
import heapq
import queue
import statistics
import threading
import time
import typing as t
from collections.abc import Callable, Iterator

import flask

import quorum
from tests.benchmarks.measuring import (
    Chunk,
    Effort,
    Row,
    benchmark,
    compare,
    loaded,
    timed,
)

_THREADS = 4
_TASKS = 1000

Submit: t.TypeAlias = Callable[[Callable[[], object]], object]


class Bare:
    """The limit: four threads that call what one queue gives them."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[Callable[[], object] | None]
        self.queue = queue.SimpleQueue()
        self.heap: list[tuple[float, int, Callable[[], object]]] = []
        self.condition = threading.Condition()
        jobs = [self.keep_time, *[self.work] * _THREADS]
        self.threads = [threading.Thread(target=job, daemon=True) for job in jobs]
        for thread in self.threads:
            thread.start()

    def work(self) -> None:
        while (call := self.queue.get()) is not None:
            call()

    def submit(self, call: Callable[[], object]) -> None:
        self.queue.put(call)

    def plan(self, call: Callable[[], object], due: float) -> None:
        with self.condition:
            heapq.heappush(self.heap, (due, id(call), call))
            self.condition.notify()

    def keep_time(self) -> None:
        with self.condition:
            while self.threads:
                now = time.monotonic()
                while self.heap and self.heap[0][0] <= now:
                    self.queue.put(heapq.heappop(self.heap)[2])
                self.condition.wait(self.heap[0][0] - now if self.heap else 1)

    def close(self) -> None:
        for _ in range(_THREADS):
            self.queue.put(None)
        workers, self.threads = self.threads[1:], []
        for thread in workers:
            thread.join()


@benchmark("background")
def measure_background(effort: Effort) -> Iterator[Row]:
    """Compare start, throughput, planned starts and the cost of submitting."""
    bare = Bare()
    pool = concurrent.futures.ThreadPoolExecutor(_THREADS)
    with loaded(flask.Flask(__name__)) as app, pool:
        yield from _measure(effort, app, bare, pool)
    bare.close()


def _measure(
    effort: Effort, app: flask.Flask, bare: Bare, pool: concurrent.futures.Executor
) -> Iterator[Row]:
    ours: Submit = quorum.run_background
    start = compare(_late(ours), _late(bare.submit), effort)
    yield Row("start, p50", start, "<= 1.5")
    rate = compare(_many(ours), _many(bare.submit), effort, rates=True)
    yield Row(f"{_TASKS} no-ops, rate", rate, ">= 0.35")

    def submit_in_context(call: Callable[[], object]) -> None:
        def run() -> None:
            with app.app_context():
                call()

        bare.submit(run)

    rate = compare(_many(ours), _many(submit_in_context), effort, rates=True)
    yield Row("the same, beside a queue that pushes app contexts", rate, ">= 0.35")
    theirs = compare(_many(ours), _many(pool.submit), effort, rates=True)
    yield Row("the same, beside ThreadPoolExecutor", theirs, ">= 1")

    def plan(call: Callable[[], object]) -> None:
        quorum.run_background(call, target_time=time.time() + 0.01)

    def plan_bare(call: Callable[[], object]) -> None:
        bare.plan(call, time.monotonic() + 0.01)

    planned = compare(_late(plan, 0.01), _late(plan_bare, 0.01), effort)
    yield Row("planned start, late by, p50", planned, "<= 1.3")
    end = threading.Event()
    blocker = quorum.run_background(end.wait)
    blocked = compare(_late(ours), lambda calls: calls / 1000, effort)
    yield Row("start behind a blocker, p50, beside 1 ms", blocked, "<= 1")
    end.set()
    blocker.result()
    put = compare(_cost(ours), _cost(bare.submit), effort)
    yield Row("submitting, beside queue.put", put, "<= 10")


def _late(submit: Submit, wait: float = 0) -> Chunk:
    """Return a chunk of tasks, one after the other, that takes as long as the median
    one was late."""

    def chunk(calls: int) -> float:
        late = []
        for _ in range(max(calls, 5)):
            begun = threading.Event()
            moments: list[float] = []

            def note(
                moments: list[float] = moments, begun: threading.Event = begun
            ) -> None:
                moments.append(time.perf_counter())
                begun.set()

            start = time.perf_counter()
            submit(note)
            begun.wait()
            late.append(moments[0] - start - wait)
        return statistics.median(late) * calls

    return chunk


def _many(submit: Submit) -> Chunk:
    """Return a chunk of many tasks at once, until the last of them has run."""

    def run() -> None:
        left = threading.Semaphore(0)
        for _ in range(_TASKS - 1):
            submit(_nothing)
        submit(left.release)
        left.acquire()

    return timed(run, clock=time.perf_counter)


def _cost(submit: Submit) -> Chunk:
    """Return a chunk that counts the time of the submitting thread only."""

    def chunk(calls: int) -> float:
        left = threading.Semaphore(0)
        start = time.thread_time()
        for _ in range(calls):
            submit(_nothing)
        seconds = time.thread_time() - start
        submit(left.release)
        left.acquire()
        return seconds

    return chunk


def _nothing() -> None:
    """Do nothing."""
