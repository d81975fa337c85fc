"""Connections to a Redis server that are dropped, or that nobody answers."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

import quorum
from quorum import redisdb
from quorum.redisdb import Script
from quorum.state import get_handle
from tests.conftest import MakeApp
from tests.servers import RedisServer


def test_call_over_a_dropped_connection_is_tried_again(
    make_app: MakeApp, redis_server: RedisServer
) -> None:
    make_app(REDISTOGO_URL=redis_server.url)
    client = quorum.get_redis()

    for _ in range(20):
        with redis.Redis.from_url(redis_server.url) as other:
            client.ping()
            other.client_kill_filter(_type="normal", skipme=True)
        assert client.incr("dropped") > 0


def test_silent_server_is_given_up_after_one_time_limit(make_app: MakeApp) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        make_app(REDISTOGO_URL=f"redis://127.0.0.1:{port}", REDIS_TIMEOUT=1)
        start = time.monotonic()

        with pytest.raises(redis.TimeoutError):
            quorum.get_redis().get("key")

        assert 0.9 < time.monotonic() - start < 3.5


def test_idle_connections_are_tried_before_their_use(
    make_app: MakeApp, redis_server: RedisServer
) -> None:
    make_app(REDISTOGO_URL=redis_server.url)

    options = quorum.get_redis().connection_pool.connection_kwargs

    assert options["health_check_interval"] == 30


def test_threads_have_connections_of_their_own(
    make_app: MakeApp, redis_server: RedisServer
) -> None:
    make_app(REDISTOGO_URL=redis_server.url)
    client = quorum.get_redis()
    client.delete("counter")

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: client.incr("counter"), range(400)))

    assert sorted(found) == list(range(1, 401))


def test_script_gives_bytes_whatever_the_url_asks_for(
    make_app: MakeApp, redis_server: RedisServer
) -> None:
    make_app(REDISTOGO_URL=f"{redis_server.url}?decode_responses=True")
    script = Script("return {KEYS[1], ARGV[1]}")

    found = get_handle(redisdb.SERVICE).engine.run(script, ["key"], [b"\xff"])

    assert quorum.get_redis().echo("decoded") == "decoded"
    assert found == [b"key", b"\xff"]


def test_script_that_fails_is_refused(
    make_app: MakeApp, redis_server: RedisServer
) -> None:
    make_app(REDISTOGO_URL=redis_server.url)

    with pytest.raises(quorum.ServiceRefusedError, match="redis at 127"):
        get_handle(redisdb.SERVICE).engine.run(Script("return nothing()"), [], [])
