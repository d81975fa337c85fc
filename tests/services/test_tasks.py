"""Background work on real brokers."""

import contextlib
import typing as t
import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import MakeApp
from tests.servers import RabbitServer, RedisServer
from tests.tasks_contract import Open, QueueContract, working

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


class TestRabbit(QueueContract):
    @pytest.fixture
    def open(self, start: StartApp, rabbit_server: RabbitServer) -> Open:
        return lambda *args, **keywords: start(rabbit_server.url, *args, **keywords)
