"""What a task costs on a broker, beside dramatiq directly with the same settings."""

import contextlib
import threading
import time
import typing as t
from collections.abc import Callable, Iterator

import dramatiq
import flask
import redis
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

import quorum
from quorum.engines.brokers import OverRabbit, OverRedis
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
from tests.servers import RabbitServer, RedisServer

_THREADS = 4
_TASKS = 300

_left = threading.Semaphore(0)


def run_task(last: bool) -> None:
    """Tell when the last task ran."""
    if last:
        _left.release()


def measure_redis(effort: Effort) -> Iterator[Row]:
    """Compare tasks that are sent over Redis and run, by a worker of this process."""
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        make: t.Any = RedisBroker  # its types are missing
        direct: RedisBroker = make(
            client=client,
            namespace="direct",
            middleware=[],
            heartbeat_timeout=10_000,
            maintenance_chance=100_000,
        )
        yield from _measure(server.url, direct, OverRedis.idle, effort)


def measure_rabbit(effort: Effort) -> Iterator[Row]:
    """Compare the same over RabbitMQ, which confirms each task."""
    with RabbitServer() as server:
        direct = RabbitmqBroker(url=server.url, confirm_delivery=True, middleware=[])
        yield from _measure(server.url, direct, OverRabbit.idle, effort)


def _measure(
    url: str, direct: dramatiq.Broker, idle: int, effort: Effort
) -> Iterator[Row]:
    with (
        _work_directly(direct, idle) as send,
        loaded(flask.Flask(__name__), QUEUE_URL=url, QUEUE_NAME="ours") as app,
    ):
        stop = threading.Event()
        state = get_state(app)
        arguments = (state, _THREADS, stop)
        worker = threading.Thread(target=get_broker(state).work, args=arguments)
        worker.start()
        try:
            ours = _many(lambda last: quorum.run_background(run_task, [last]))
            ratio = compare(ours, _many(send), effort, rates=True)
            yield Row(f"{_TASKS} tasks sent and run, rate", ratio, ">= 0.9")
        finally:
            stop.set()
            worker.join()


@contextlib.contextmanager
def _work_directly(
    broker: dramatiq.Broker, idle: int
) -> Iterator[Callable[[bool], object]]:
    """Run a worker of dramatiq alone, with an actor of its own."""
    declare: t.Any = dramatiq.actor
    actor = declare(run_task, broker=broker, queue_name="direct")
    worker = dramatiq.Worker(broker, worker_timeout=idle, worker_threads=_THREADS)
    worker.start()
    try:
        yield actor.send
    finally:
        worker.stop()
        broker.close()


def _many(submit: Callable[[bool], object]) -> t.Any:
    """Return a chunk of many tasks at once, until the last of them has run."""

    def run() -> None:
        for _ in range(_TASKS - 1):
            submit(False)
        submit(True)
        _left.acquire()

    return timed(run, clock=time.perf_counter)


if not RedisServer.missing():
    benchmark("dramatiq")(measure_redis)
benchmark("dramatiq-amqp", served=True)(measure_rabbit)
