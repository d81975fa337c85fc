"""What a session in Redis costs beside redis-py with the same JSON in the view."""

import contextlib
import importlib
import importlib.util
import time
import typing as t
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import fakeredis
import flask
import redis
from werkzeug.http import parse_cookie
from werkzeug.test import create_environ

from quorum.engines.packing import Packing
from tests.benchmarks.measuring import (
    Chunk,
    Effort,
    Row,
    benchmark,
    compare,
    loaded,
    timed,
)
from tests.servers import RedisServer

Request: t.TypeAlias = Callable[[], object]

_THREADS = 8
_CODEC = Packing()
_DAY = 86400
_SIZES = {"1 KB": 12, "100 KB": 1200}
_GOALS = {
    ("untouched", "1 KB"): ">= 0.85",
    ("read", "1 KB"): ">= 0.80",
    ("read and write", "1 KB"): ">= 0.85",
    ("read", "100 KB"): ">= 0.50",
}
_TRIPS = {"untouched": 0, "read": 1, "read and write": 2}


@benchmark("sessions")
def measure_sessions(effort: Effort) -> Iterator[Row]:
    """Compare requests, on a Redis server if there is one; count its round trips."""
    with contextlib.ExitStack() as stack:
        url, client = _start_redis(stack)
        with ThreadPoolExecutor(_THREADS) as pool:
            for size, count in _SIZES.items():
                data = [
                    {"id": n, "name": f"article {n}", "tags": ["a", "b"], "price": 1.5}
                    for n in range(count)
                ]
                with loaded(
                    _make_app(), secret_key="key", redis_session=True, REDISTOGO_URL=url
                ) as app:
                    ours = _make_requests(app, data)
                    limit = _make_requests(_make_limit(client), data)
                    for kind in _TRIPS:
                        goal = _GOALS.get((kind, size), "")
                        pair = _timed(ours[kind]), _timed(limit[kind])
                        ratio = compare(*pair, effort, rates=True)
                        yield Row(f"{kind}, {size}", ratio, goal)
                        if size == "1 KB":
                            pair = _spread(pool, ours[kind]), _spread(pool, limit[kind])
                            ratio = compare(*pair, effort, rates=True)
                            yield Row(
                                f"{kind}, {size}, {_THREADS} threads", ratio, goal
                            )
                            yield from _count(client, ours[kind], kind)
                    if importlib.util.find_spec("flask_session"):
                        peer = _make_requests(_make_peer(client), data)
                        for kind in _TRIPS:
                            pair = _timed(ours[kind]), _timed(peer[kind])
                            ratio = compare(*pair, effort, rates=True)
                            yield Row(
                                f"{kind}, {size}, to Flask-Session", ratio, ">= 1"
                            )


def _start_redis(stack: contextlib.ExitStack) -> tuple[str, "redis.Redis"]:
    if RedisServer.missing():
        return "memory:", fakeredis.FakeRedis()
    url = stack.enter_context(RedisServer()).url
    return url, stack.enter_context(redis.Redis.from_url(url))


def _timed(request: Request) -> Chunk:
    return timed(request, clock=time.perf_counter)


def _spread(pool: ThreadPoolExecutor, request: Request) -> Chunk:
    def chunk(calls: int) -> float:
        start = time.perf_counter()
        futures = [
            pool.submit(lambda: [request() for _ in range(calls)])
            for _ in range(_THREADS)
        ]
        for future in futures:
            future.result()
        return time.perf_counter() - start

    return chunk


def _count(client: "redis.Redis", request: Request, kind: str) -> Iterator[Row]:
    """Count what the server reads from its connections: once for each round trip."""
    if isinstance(client, fakeredis.FakeRedis):
        return

    def reads() -> int:
        found: t.Any = client.info("stats")
        return int(found["total_reads_processed"])

    first, before = reads(), reads()
    request()
    trips = reads() - before - (before - first)
    yield Row(f"round trips, {kind}", trips, f"<= {_TRIPS[kind]}")


def _make_requests(app: flask.Flask, data: object) -> dict[str, Request]:
    """Return the requests of one visitor, by what their views do."""
    app.config["DATA"] = data
    cookie = ""

    def start(status: str, headers: list[tuple[str, str]], *rest: object) -> t.Any:
        nonlocal cookie
        assert status == "200 OK"
        for name, value in headers:
            cookie = value.partition(";")[0] if name == "Set-Cookie" else cookie

    def ask(environ: dict[str, t.Any]) -> None:
        parts: t.Any = app(dict(environ), start)
        assert b"".join(parts) == b"done"
        parts.close()

    ask(create_environ("/begin"))
    headers = {"Cookie": cookie}

    def make(kind: str) -> Request:
        environ = create_environ(f"/{kind}", headers=headers)
        return lambda: ask(environ)

    assert parse_cookie(cookie)
    return {kind: make(kind) for kind in _TRIPS}


def _make_app() -> flask.Flask:
    """Return an app whose views use Flask's session."""
    app = flask.Flask(__name__)

    @app.route("/begin")
    def begin() -> str:
        flask.session["data"] = app.config["DATA"]
        return "done"

    @app.route("/untouched")
    def pass_by() -> str:
        return "done"

    @app.route("/read")
    def read() -> str:
        assert flask.session["data"]
        return "done"

    @app.route("/read and write")
    def write() -> str:
        flask.session["data"][0]["id"] += 1
        flask.session.modified = True
        return "done"

    return app


def _make_peer(client: "redis.Redis") -> flask.Flask:
    """Return the same app with Flask-Session."""
    app = _make_app()
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client)
    importlib.import_module("flask_session").Session(app)
    return app


def _make_limit(client: "redis.Redis") -> flask.Flask:
    """Return an app whose views ask Redis by themselves."""
    app = flask.Flask(__name__)

    @app.route("/begin")
    def begin() -> flask.Response:
        client.set("limit", _CODEC.encode(app.config["DATA"]), ex=_DAY)
        response = flask.Response("done")
        response.set_cookie("session", "limit")
        return response

    @app.route("/untouched")
    def pass_by() -> str:
        return "done"

    def get() -> t.Any:
        return _CODEC.decode(
            t.cast(bytes, client.getex(flask.request.cookies["session"], ex=_DAY))
        )

    @app.route("/read")
    def read() -> str:
        assert get()
        return "done"

    @app.route("/read and write")
    def write() -> str:
        data = get()
        data[0]["id"] += 1
        client.set(flask.request.cookies["session"], _CODEC.encode(data), ex=_DAY)
        return "done"

    return app
