"""Background work on real brokers."""

import contextlib
import json
import pathlib
import re
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
from tests.processes import PATIENCE, clean_environment, free_port, running
from tests.servers import RabbitServer, RedisServer, Server
from tests.tasks_contract import Open, QueueContract, note, took, working


def make_body(**fields: t.Any) -> bytes:
    """Return a message that no worker can run, with some fields of its own."""
    body = {"queue_name": "garbage", "actor_name": "quorum", "message_id": "odd"}
    rest = {"args": [], "kwargs": {}, "options": {"redis_message_id": "odd"}}
    return json.dumps({**body, **rest, "message_timestamp": 0, **fields}).encode()


NO_MESSAGES = [
    b"garbage",
    b"{}",
    make_body(kwargs=[]),
    make_body(options={}),
    make_body(options=[]),
    make_body(message_id=[]),
    make_body(actor_name={}),
    make_body(queue_name="other"),
    make_body(options={"redis_message_id": "other"}, actor_name="no_such"),
]


StartApp: t.TypeAlias = Callable[..., t.Any]


@pytest.fixture
def start(make_app: MakeApp) -> Iterator[Callable[..., t.Any]]:
    with contextlib.ExitStack() as stack:

        def start_app(url: str, name: str = "shop", **keywords: t.Any) -> t.Any:
            queue = f"q{uuid.uuid4().hex[:8]}"
            settings = {"QUEUE_URL": url, "QUEUE_NAME": queue, "QUEUE_BACKOFF": 0.02}
            app = make_app(name, **{**settings, **keywords})
            stack.enter_context(working(app))
            return app

        yield start_app


class TestRedis(QueueContract):
    @pytest.fixture
    def open(self, start: StartApp, redis_server: RedisServer) -> Open:
        return lambda *args, **keywords: start(redis_server.url, *args, **keywords)

    @pytest.mark.parametrize("body", NO_MESSAGES)
    def test_what_is_no_message_is_a_dead_letter_and_ends_nothing_else(
        self, open: Open, redis_server: RedisServer, body: bytes
    ) -> None:
        open(QUEUE_NAME="garbage")
        quorum.run_background(note)
        took()
        with redis.Redis.from_url(redis_server.url) as client:
            client.hset("quorum:garbage.msgs", "odd", body.decode())
            client.rpush("quorum:garbage", "odd")
            for number in range(5):
                quorum.run_background(note, [number])

            seen = {took().args[0] for _ in range(5)}
            broker = get_broker(get_state())
            letter = self.wait_for_letter(broker)
            client.delete("quorum:garbage.XQ", "quorum:garbage.XQ.msgs")

        assert seen == set(range(5))
        with pytest.raises(quorum.TaskError, match="not one of quorum's"):
            broker.put_back(get_state(), letter)


class TestRabbit(QueueContract):
    @pytest.fixture
    def open(self, start: StartApp, rabbit_server: RabbitServer) -> Open:
        return lambda *args, **keywords: start(rabbit_server.url, *args, **keywords)

    def test_what_is_no_message_is_a_dead_letter_that_is_shown(
        self, open: Open, rabbit_server: RabbitServer
    ) -> None:
        open(QUEUE_NAME="garbage")
        quorum.run_background(note)
        took()
        connection = pika.BlockingConnection(pika.URLParameters(rabbit_server.url))
        connection.channel().basic_publish("", "garbage", b"garbage")
        connection.close()

        letter = self.wait_for_letter(get_broker(get_state()))

        assert letter.reason == "It is no message: b'garbage'"
        with pytest.raises(quorum.TaskError, match="not one of quorum's"):
            get_broker(get_state()).put_back(get_state(), letter)


PROGRAM = """
import pathlib, sys, quorum

app = quorum.load()

def leave(path):
    pathlib.Path(path).touch()

if __name__ == "__main__":
    quorum.run_background(leave, sys.argv[1:])
"""


@pytest.mark.parametrize("module", ["shop.__main__", "shop.web"])
def test_a_worker_finds_the_task_of_a_module_that_was_run_as_a_program(
    redis_server: RedisServer, tmp_path: pathlib.Path, module: str
) -> None:
    file = tmp_path / module.replace(".", "/")
    file.parent.mkdir()
    file.with_suffix(".py").write_text(PROGRAM)
    environment = clean_environment(QUEUE_URL=redis_server.url)
    worker = ["-m", "flask", "--app", module, "quorum", "worker"]

    command = [sys.executable, "-m", module.removesuffix(".__main__"), "done"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    with running(*worker, cwd=tmp_path, env=environment):
        end = time.monotonic() + PATIENCE
        while not (tmp_path / "done").exists():
            assert time.monotonic() < end
            time.sleep(0.02)


def test_a_broker_that_cannot_be_reached_is_an_error_of_ours(
    make_app: MakeApp, rabbit_server: RabbitServer
) -> None:
    port = free_port()
    for url in (
        f"redis://:sesame@127.0.0.1:{port}",
        f"amqp://a:sesame@127.0.0.1:{port}",
    ):
        make_app(url[:5].strip(":"), QUEUE_URL=url, QUEUE_TIMEOUT=1)
        start = time.monotonic()
        with pytest.raises(quorum.ServiceUnavailableError) as caught:
            quorum.run_background(note)
        with pytest.raises(quorum.ServiceUnavailableError):
            get_broker(get_state()).list_letters(get_state())
        assert time.monotonic() - start < PATIENCE
        assert str(port) in str(caught.value)
        assert "sesame" not in str(caught.value)
        quorum.unload()


def test_a_broker_that_refuses_the_password_is_an_error_of_ours(
    make_app: MakeApp, redis_server: RedisServer, rabbit_server: RabbitServer
) -> None:
    urls = (
        f"redis://:wrong-sesame@127.0.0.1:{redis_server.port}?protocol=2",
        f"amqp://guest:wrong-sesame@127.0.0.1:{rabbit_server.port}/%2F",
    )
    for url in urls:
        make_app(url[:5].strip(":"), QUEUE_URL=url, QUEUE_TIMEOUT=1)
        with pytest.raises(quorum.ServiceRefusedError) as caught:
            quorum.run_background(note)
        assert "wrong-sesame" not in str(caught.value)
        quorum.unload()


@pytest.mark.parametrize("kind", [RedisServer, RabbitServer])
def test_a_broker_that_is_silent_is_noticed_in_time(
    make_app: MakeApp, kind: type[Server]
) -> None:
    with kind() as server:
        make_app(QUEUE_URL=server.url, QUEUE_TIMEOUT=2)
        quorum.run_background(note)
        server.pause()
        start = time.monotonic()
        with pytest.raises(quorum.ServiceUnavailableError):
            quorum.run_background(note)
        took = time.monotonic() - start
        server.resume()

        assert took < 2 * PATIENCE  # dramatiq tries six times, and each takes seconds


WORKER = ["-m", "flask", "--app", "shop", "quorum", "worker"]


@pytest.fixture
def shop(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "shop.py").write_text("import quorum\napp = quorum.load()\n")
    return tmp_path


def test_a_worker_whose_broker_refuses_the_password_ends_and_says_so(
    shop: pathlib.Path, redis_server: RedisServer, rabbit_server: RabbitServer
) -> None:
    urls = (
        f"redis://:wrong-sesame@127.0.0.1:{redis_server.port}?protocol=2",
        f"amqp://guest:wrong-sesame@127.0.0.1:{rabbit_server.port}/%2F",
    )
    for url in urls:
        environment = clean_environment(QUEUE_URL=url, QUEUE_TIMEOUT="1")
        with running(*WORKER, cwd=shop, env=environment) as worker:
            told, _ = worker.communicate(timeout=PATIENCE)

        assert worker.returncode == 1
        assert re.match(r"Error: \w+ at 127\.0\.0\.1:\d+: ", told)
        assert "wrong-sesame" not in told


def test_a_worker_without_a_broker_tells_of_it_as_the_log_is_to_be(
    shop: pathlib.Path,
) -> None:
    for scheme in ("redis://:sesame", "amqp://guest:sesame"):
        url = f"{scheme}@127.0.0.1:{free_port()}"
        environment = clean_environment(
            QUEUE_URL=url, QUEUE_TIMEOUT="1", LOG_FORMAT="json", QUEUE_DRAIN="1"
        )
        with running(*WORKER, cwd=shop, env=environment) as worker:
            assert worker.stdout
            told = [worker.stdout.readline() for _ in range(4)]

        warned = json.loads(told[0])["message"]
        assert re.match(r"The worker begins all the same: \w+ at 127\.0\.0\.1", warned)
        assert told[1].startswith("Running the tasks of 'shop'")
        assert all(json.loads(line)["message"] for line in told[2:])
        assert "sesame" not in "".join(told)


def leave(path: str) -> None:
    """Say that the task has run."""
    pathlib.Path(path).touch()


@pytest.mark.usefixtures("redis_server", "rabbit_server")  # which skip
@pytest.mark.parametrize("kind", [RedisServer, RabbitServer])
def test_a_worker_that_began_without_its_broker_works_when_that_is_there(
    tmp_path: pathlib.Path, make_app: MakeApp, kind: type[Server]
) -> None:
    server, done = kind(), tmp_path / "done"
    variables = {"QUEUE_URL": server.url, "QUEUE_MODULES": __name__}
    root = str(pathlib.Path(__file__).parents[2])
    environment = clean_environment(**variables, QUEUE_TIMEOUT="1", PYTHONPATH=root)
    (tmp_path / "shop.py").write_text("import quorum\napp = quorum.load(name='shop')\n")
    with running(*WORKER, cwd=tmp_path, env=environment) as worker:
        assert worker.stdout
        assert "begins all the same" in worker.stdout.readline()
        with server:
            make_app("shop", **variables)
            quorum.run_background(leave, [str(done)])
            end = time.monotonic() + PATIENCE
            while not done.exists():
                assert time.monotonic() < end
                time.sleep(0.02)
            quorum.unload()
