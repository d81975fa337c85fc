"""What a task costs on Redis, beside dramatiq used directly with the same settings."""

import contextlib
import threading
import time
import typing as t
from collections.abc import Callable, Iterator

import dramatiq
import flask
import redis
from dramatiq.brokers.redis import RedisBroker

import quorum
from quorum.state import get_state
from quorum.tasks import get_broker
from tests.benchmarks.measuring import (
    Effort,
    Row,
    benchmark,
    compare,
    loaded,
    timed,
)
from tests.servers import RedisServer

_THREADS = 4
_TASKS = 300

_left = threading.Semaphore(0)


def run_task(last: bool) -> None:
    """Tell when the last task ran."""
    if last:
        _left.release()


def measure_dramatiq(effort: Effort) -> Iterator[Row]:
    """Compare tasks that are sent and run, by a worker of this process."""
    with RedisServer() as server, contextlib.ExitStack() as stack:
        direct = stack.enter_context(_work_directly(server.url))
        app = stack.enter_context(
            loaded(flask.Flask(__name__), QUEUE_URL=server.url, QUEUE_NAME="ours")
        )
        stop = threading.Event()
        state = get_state(app)
        arguments = (state, _THREADS, stop)
        worker = threading.Thread(target=get_broker(state).work, args=arguments)
        worker.start()
        try:
            ours = _many(lambda last: quorum.run_background(run_task, [last]))
            ratio = compare(ours, _many(direct), effort, rates=True)
            yield Row(f"{_TASKS} tasks sent and run, rate", ratio, ">= 0.9")
        finally:
            stop.set()
            worker.join()


@contextlib.contextmanager
def _work_directly(url: str) -> Iterator[Callable[[bool], object]]:
    """Run a worker of dramatiq alone, with an actor of its own."""
    make: t.Any = RedisBroker
    broker: RedisBroker = make(
        client=redis.Redis.from_url(url),
        namespace="direct",
        middleware=[],
        heartbeat_timeout=10_000,
        maintenance_chance=100_000,
    )
    declare: t.Any = dramatiq.actor
    actor = declare(run_task, broker=broker, queue_name="direct")
    worker = dramatiq.Worker(broker, worker_timeout=30, worker_threads=_THREADS)
    worker.start()
    try:
        yield actor.send
    finally:
        worker.stop()
        broker.client.close()


def _many(submit: Callable[[bool], object]) -> t.Any:
    """Return a chunk of many tasks at once, until the last of them has run."""

    def run() -> None:
        for _ in range(_TASKS - 1):
            submit(False)
        submit(True)
        _left.acquire()

    return timed(run, clock=time.perf_counter)


if not RedisServer.missing():
    benchmark("dramatiq")(measure_dramatiq)
