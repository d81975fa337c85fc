"""What survives when workers, brokers and connections fail; each count is printed."""

import collections
import contextlib
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import time
import typing as t
import uuid
from collections.abc import Callable, Iterator

import pika
import pytest
import redis

import quorum
from quorum.state import get_state
from quorum.tasks import get_broker
from tests.conftest import MakeApp
from tests.processes import PATIENCE, clean_environment
from tests.proxy import Proxy
from tests.servers import RabbitServer, RedisServer, Server
from tests.services.fault_app import die, work

ROOT = pathlib.Path(__file__).parents[2]

#: Longest wait for what a killed worker of Redis had: heartbeats end after 10 s.
LONG = 90.0


class Field:
    """A queue, the app that submits to it, and the workers that take from it."""

    def __init__(self, folder: pathlib.Path, variables: dict[str, str]) -> None:
        self.folder = folder
        self.queue = f"q{uuid.uuid4().hex[:8]}"
        self.variables = {"QUEUE_NAME": self.queue, **variables}
        self.workers: list[subprocess.Popen[bytes]] = []

    def work(self, processes: int = 1, threads: int = 4, **more: str) -> "Worker":
        app = "tests.services.fault_app:create_app"
        command = [sys.executable, "-m", "flask", "--app", app, "quorum", "worker"]
        command += [f"--processes={processes}", f"--threads={threads}"]
        log = (self.folder / "log").open("ab")
        environment = clean_environment(PYTHONWARNINGS="default", **self.variables)
        process = subprocess.Popen(
            command, cwd=ROOT, env={**environment, **more}, stdout=log, stderr=log
        )
        log.close()
        self.workers.append(process)
        return Worker(process)

    def submit(
        self, function: Callable[..., object], *args: t.Any, **more: t.Any
    ) -> str:
        task = quorum.run_background(function, [str(self.folder), *args], **more)
        return task.id

    def count(self, name: str) -> collections.Counter[int]:
        """Return how often each task has left a trace of that name."""
        file = self.folder / name
        lines = file.read_text().splitlines() if file.exists() else []
        return collections.Counter(map(int, lines))

    def wait(self, name: str, numbers: int, seconds: float = LONG) -> None:
        """Wait until so many tasks have left a trace."""
        end = time.monotonic() + seconds
        while len(self.count(name)) < numbers and time.monotonic() < end:
            time.sleep(0.02)

    def report(self, what: str, wanted: int, started: float) -> int:
        """Print what was lost and what ran more than once; return what was lost."""
        done, begun = self.count("done"), self.count("started")
        lost, again = wanted - len(done), sum(begun.values()) - len(begun)
        took = time.monotonic() - started
        say(f"{what}: {wanted} tasks, {lost} lost, {again} begun again, {took:.1f} s")
        return lost

    def stop(self) -> None:
        for process in self.workers:
            process.send_signal(signal.SIGTERM)
        for process in self.workers:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Worker:
    """A supervisor, and the processes that it keeps."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def children(self) -> list[int]:
        pid = self.process.pid
        with contextlib.suppress(OSError):
            text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
            return [int(word) for word in text.split()]
        return []

    def kill_child(self) -> None:
        """End the oldest child by SIGKILL."""
        end = time.monotonic() + PATIENCE
        while not (children := self.children()):
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(children[0], signal.SIGKILL)

    def terminate(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE)


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"\n{text}\n")


def wait_for(claim: Callable[[], object]) -> None:
    """Wait until a claim is true."""
    end = time.monotonic() + LONG
    while not claim():
        assert time.monotonic() < end
        time.sleep(0.02)


def proxied(url: str, proxy: Proxy) -> str:
    """Return the URL of a server with the port of a way to it."""
    return re.sub(r":\d+/", f":{proxy.port}/", url)


def find_port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


MakeField: t.TypeAlias = Callable[..., Field]


@pytest.fixture
def field(make_app: MakeApp, tmp_path: pathlib.Path) -> Iterator[MakeField]:
    with contextlib.ExitStack() as stack:

        def make(**variables: str) -> Field:
            made = Field(tmp_path, variables)
            make_app("faults", **made.variables)
            stack.callback(made.stop)
            return made

        yield make


@pytest.fixture(params=["redis", "rabbit"])
def place(request: pytest.FixtureRequest) -> dict[str, str]:
    """Variables that lead to a broker which stays."""
    redis: RedisServer = request.getfixturevalue("redis_server")
    if request.param == "redis":
        return {"QUEUE_URL": redis.url}
    rabbit: RabbitServer = request.getfixturevalue("rabbit_server")
    return {"QUEUE_URL": rabbit.url, "QUEUE_STATE_URL": redis.url}


@pytest.fixture(params=["redis", "rabbit"])
def broker(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A broker of the test's own, which keeps what it has on the disk."""
    kind: Server = RabbitServer()
    if request.param == "redis":
        kind = RedisServer(appendonly=True)
    request.getfixturevalue(f"{request.param}_server")  # skips where there is none
    with kind as server:
        yield server


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    """A way to Redis."""
    with Proxy(redis_server.port) as proxy:
        yield proxy


def test_no_task_is_lost_when_workers_are_killed(
    field: MakeField, place: dict[str, str]
) -> None:
    here = field(**place, QUEUE_STARTS="50")
    start = time.monotonic()
    worker = here.work(processes=2)
    for number in range(90):
        here.submit(work, number, 0.2)
    for number in range(90, 100):
        here.submit(work, number, target_time=time.time() + 1)

    for finished in (5, 15, 25, 35):
        here.wait("done", finished)
        worker.kill_child()
    here.wait("done", 100)

    assert here.report(f"workers killed, {place['QUEUE_URL'][:5]}", 100, start) == 0


def test_no_task_that_was_acknowledged_is_lost_when_the_broker_is_killed(
    field: MakeField, broker: Server
) -> None:
    here = field(QUEUE_URL=broker.url, QUEUE_TIMEOUT="5")
    start = time.monotonic()
    here.work()
    here.submit(work, 0)
    here.wait("done", 1)
    acknowledged, refused = 1, 0
    for number in range(300):
        if number in (100, 200):
            broker.kill()
        try:
            here.submit(work, acknowledged, 0.02)
            acknowledged += 1
        except quorum.ServiceUnavailableError:
            refused += 1
            broker.restart()

    here.wait("done", acknowledged)

    assert refused >= 1
    assert here.report(f"broker killed, {broker.name}", acknowledged, start) == 0


def test_a_task_that_kills_its_workers_is_set_aside(
    field: MakeField, place: dict[str, str]
) -> None:
    here = field(**place, QUEUE_STARTS="2")
    start = time.monotonic()
    here.work(threads=1)
    poison = here.submit(die, 0)
    for number in range(1, 11):
        here.submit(work, number)

    here.wait("done", 10)
    broker = get_broker(get_state())
    wait_for(lambda: broker.list_letters(get_state()))
    letters = broker.list_letters(get_state())

    assert here.report(f"poison, {place['QUEUE_URL'][:5]}", 10, start) == 0
    assert [letter.id for letter in letters] == [poison]
    assert "never ended" in letters[0].reason
    assert here.count("started")[0] == 2


def test_no_task_is_lost_by_a_rolling_restart(
    field: MakeField, place: dict[str, str]
) -> None:
    here = field(**place)
    for number in range(10_000):
        here.submit(work, number)
    start = time.monotonic()
    workers = [here.work(), here.work()]

    for finished, worker in zip((1000, 4000), workers, strict=True):
        here.wait("done", finished)
        assert worker.terminate() == 0
        here.work()
    here.wait("done", 10_000)

    assert here.report(f"rolling restart, {place['QUEUE_URL'][:5]}", 10_000, start) == 0


def test_sigterm_lets_what_runs_come_to_its_end(
    field: MakeField, place: dict[str, str]
) -> None:
    here = field(**place)
    worker = here.work(threads=2)
    for number in range(6):
        here.submit(work, number, 1)
    here.wait("started", 1)

    code = worker.terminate()

    assert code == 0
    assert here.count("started") == here.count("done")
    here.work(threads=6)
    here.wait("done", 6)
    assert here.count("done") == dict.fromkeys(range(6), 1)


def test_a_connection_that_was_cut_is_made_again(
    field: MakeField, place: dict[str, str]
) -> None:
    url = place["QUEUE_URL"]
    with Proxy(find_port_of(url)) as proxy:
        here = field(QUEUE_URL=proxied(url, proxy))
        start = time.monotonic()
        here.work()
        for number in range(50):
            here.submit(work, number, 0.05)
        here.wait("done", 10)

        proxy.cut()
        with pytest.raises(quorum.ServiceUnavailableError):
            here.submit(work, 0)
        time.sleep(1)
        proxy.heal()
        for number in range(50, 60):
            here.submit(work, number)
        here.wait("done", 60)

        assert here.report(f"connection cut, {url[:5]}", 60, start) == 0


@pytest.mark.parametrize("wait", [0, 1])
def test_what_a_worker_was_sent_as_its_connection_broke_runs_soon(
    field: MakeField, redis_server: RedisServer, proxy: Proxy, wait: float
) -> None:
    """Redis takes it for the worker's, which does not know of it."""
    here = field(QUEUE_URL=redis_server.url, QUEUE_STARTS="1")
    start = time.monotonic()
    here.work(QUEUE_URL=proxied(redis_server.url, proxy))
    here.submit(work, 0)
    here.wait("done", 1)

    queue = here.queue + (".DQ" if wait else "")
    proxy.lose(f'"queue_name":"{queue}"'.encode())
    for number in range(1, 6):
        here.submit(work, number, target_time=time.time() + wait)
    here.wait("done", 6, wait + 5)

    assert proxy.lost == 1
    assert here.report("answer lost, redis", 6, start) == 0
    assert set(here.count("started").values()) == {1}


def is_taken(url: str, queue: str) -> bool:
    """Return whether the queue's workers have the delayed tasks in their memory."""
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as client:
            return any(client.scan_iter(f"quorum:__acks__.*.{queue}.DQ"))
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(url))) as client:
        found = client.channel().queue_declare(f"{queue}.DQ", passive=True).method
        return bool(found.consumer_count and not found.message_count)


def test_delayed_tasks_in_the_memory_of_a_worker_survive_a_cut(
    field: MakeField, place: dict[str, str]
) -> None:
    here = field(**place)
    url = place["QUEUE_URL"]
    start = time.monotonic()
    with Proxy(find_port_of(url)) as proxy:
        here.work(QUEUE_URL=proxied(url, proxy))
        for number in range(20):
            here.submit(work, number, target_time=time.time() + 4)
        wait_for(lambda: is_taken(url, here.queue))

        proxy.cut()
        time.sleep(2)
        proxy.heal()
        here.wait("done", 20, 15)

    what = f"cut while tasks were delayed, {url[:5]}"
    assert here.report(what, 20, start) == 0


def test_a_task_whose_acknowledgement_gets_lost_does_not_run_again(
    field: MakeField, redis_server: RedisServer, proxy: Proxy
) -> None:
    here = field(QUEUE_URL=redis_server.url, QUEUE_TIMEOUT="1")
    worker = here.work(QUEUE_URL=proxied(redis_server.url, proxy))
    here.submit(work, 0)
    here.wait("done", 1)

    proxy.lose(b"\r\nack\r\n", cut=False)
    here.submit(work, 1)
    here.wait("done", 2)
    with redis.Redis.from_url(redis_server.url) as client:
        wait_for(lambda: not client.hlen(f"quorum:{here.queue}.msgs"))

    assert proxy.lost == 1
    assert worker.terminate() == 0
    assert here.count("started") == {0: 1, 1: 1}


def test_an_idle_worker_begins_at_once(field: MakeField, place: dict[str, str]) -> None:
    here = field(**place)
    here.work()
    here.submit(work, 0)
    here.wait("done", 1)
    late = []

    for number in range(1, 31):
        start = time.monotonic()
        here.submit(work, number)
        while not here.count("started")[number]:
            time.sleep(0.001)
        late.append(time.monotonic() - start)

    middle, most = statistics.median(late) * 1000, max(late) * 1000
    kind = place["QUEUE_URL"][:5]
    say(f"idle start, {kind}: {middle:.0f} ms, most {most:.0f} ms")
    assert middle < 1000


def test_periodic_work_is_done_once_by_several_processes(
    field: MakeField, place: dict[str, str], tmp_path: pathlib.Path
) -> None:
    here = field(**place)
    for _ in range(2):
        here.work(processes=2, FAULT_TICKS=str(tmp_path))
    here.wait("ticks", 1)
    before, start = sum(here.count("ticks").values()), time.monotonic()

    time.sleep(4)

    ticks = sum(here.count("ticks").values()) - before
    assert 1 <= ticks <= time.monotonic() - start + 1
