"""Sessions on a Redis server, the round trips they take, and its faults."""

import collections
import contextlib
import threading
import time
import typing as t
import uuid
from collections.abc import Callable

import flask
import pytest
import redis
from flask.sessions import SessionMixin
from flask.testing import FlaskClient

import quorum
from tests.conftest import MakeApp
from tests.processes import clean_environment, free_port, get, running
from tests.servers import RedisServer
from tests.sessions_contract import SessionContract, Shop, cookie_of
from tests.test_examples import EXAMPLES, LOGIN_SAYS, log_in_and_out

if reason := RedisServer.missing():
    pytest.skip(reason, allow_module_level=True)

MakeShop: t.TypeAlias = Callable[..., Shop]


class TestSessionsOnAServer(SessionContract):
    @pytest.fixture
    def url(self, redis_server: RedisServer) -> str:
        return redis_server.url


@pytest.fixture
def make_shop(make_app: MakeApp) -> MakeShop:
    def make(url: str, **keywords: object) -> Shop:
        keywords = {"secret_key": "key", "REDISTOGO_URL": url} | keywords
        return Shop(make_app(uuid.uuid4().hex, redis_session=True, **keywords))

    return make


def change(session: SessionMixin) -> None:
    session["cart"].append(1)


def log_in_anew(session: SessionMixin) -> None:
    session.clear()
    session["user"] = "ann"
    quorum.bind_session("ann")


TRIPS: dict[str, tuple[Callable[[SessionMixin], object], int]] = {
    "untouched": (lambda _: None, 0),
    "read": (dict, 1),
    "read and write": (change, 2),
    "rotate": (lambda _: quorum.rotate_session(), 2),
    "bind": (lambda _: quorum.bind_session("ann"), 2),
    "end": (lambda session: session.clear(), 2),
    "log in anew": (log_in_anew, 2),
}


@pytest.mark.parametrize("name", TRIPS)
def test_round_trips_are_few(
    make_shop: MakeShop, redis_server: RedisServer, name: str
) -> None:
    action, wanted = TRIPS[name]
    shop = make_shop(redis_server.url)
    client = shop.browser()
    shop.put(client, cart=[])
    shop.ask(client, change)
    with redis.Redis.from_url(redis_server.url) as other:

        def count() -> int:
            return t.cast("dict[str, int]", other.info("stats"))[
                "total_reads_processed"
            ]

        first, own = count(), count()
        shop.ask(client, action)
        trips = count() - own - (own - first)

    assert trips == wanted


@pytest.mark.parametrize("cookie", ["", "forged", f"{'A' * 43}.{'A' * 43}"])
def test_cookie_that_is_not_ours_takes_no_round_trip(
    make_shop: MakeShop, redis_server: RedisServer, cookie: str
) -> None:
    shop = make_shop(f"{redis_server.url}?max_connections=1")
    client = shop.browser(cookie)

    shop.read(client)

    pool = shop.redis().connection_pool
    assert pool._available_connections == []


class Statuses(collections.Counter[str]):
    """What the requests of one fault were answered with; print it with ``-s``."""

    def show(self, fault: str) -> None:
        print(f"\n{fault}: {dict(sorted(self.items()))}")


def assert_unavailable(shop: Shop, client: FlaskClient, action: t.Any) -> None:
    response = shop.visit(client, action)

    assert response.status == "503 SERVICE UNAVAILABLE"
    assert response.headers["Retry-After"] == "1"
    assert response.headers["Vary"] == "Cookie"
    assert "Set-Cookie" not in response.headers
    assert "127.0.0.1" not in response.text


def count_up(session: SessionMixin) -> int:
    session["n"] = session.get("n", 0) + 1
    return t.cast(int, session["n"])


class Visitor(threading.Thread):
    """Counts up in a session until it is told to stop."""

    def __init__(self, shop: Shop, stop: threading.Event) -> None:
        super().__init__()
        self.shop = shop
        self.stop = stop
        self.client = shop.browser()
        self.statuses = Statuses()
        self.faults: list[str] = []
        self.acknowledged = 0
        self.answered = 0.0

    def run(self) -> None:
        while not self.stop.is_set():
            name = f"{self.name}-{sum(self.statuses.values())}"
            counted: list[int] = []
            self.shop._actions[name] = lambda s, to=counted: to.append(count_up(s))  # type: ignore[misc]
            response = self.client.get("/", headers={"Action": name})
            self.statuses[str(response.status_code)] += 1
            if response.status_code == 200:
                self.answered = time.monotonic()
                if counted[0] <= self.acknowledged:
                    self.faults.append(f"{counted[0]} after {self.acknowledged}")
                self.acknowledged = counted[0]
            elif response.headers.get("Retry-After") != "1":
                self.faults.append(response.status)


def test_server_that_is_killed_under_traffic_loses_nothing(
    make_shop: MakeShop,
) -> None:
    flags = ["--appendfsync", "always"]
    with RedisServer(appendonly=True, flags=flags) as server:
        shop = make_shop(server.url, REDIS_TIMEOUT=2)
        stop = threading.Event()
        visitors = [Visitor(shop, stop) for _ in range(8)]
        for visitor in visitors:
            visitor.start()
        healed = []
        try:
            for _ in range(3):
                time.sleep(0.7)
                server.kill()
                time.sleep(0.5)
                server.restart()
                back = time.monotonic()
                while min(visitor.answered for visitor in visitors) < back:
                    assert time.monotonic() < back + 10
                    time.sleep(0.01)
                healed.append(time.monotonic() - back)
        finally:
            stop.set()
            for visitor in visitors:
                visitor.join()
        found = [shop.read(visitor.client)["n"] for visitor in visitors]

    statuses = sum((visitor.statuses for visitor in visitors), Statuses())
    Statuses(statuses).show(f"killed 3 times, healed after {max(healed):.2f} s")
    assert [visitor.faults for visitor in visitors] == [[]] * 8
    assert set(statuses) == {"200", "503"}
    for visitor, number in zip(visitors, found, strict=True):
        assert number >= visitor.acknowledged > 0


def test_server_that_is_paused_is_given_up_in_time(make_shop: MakeShop) -> None:
    with RedisServer() as server:
        shop = make_shop(server.url, REDIS_TIMEOUT=0.5)
        client = shop.browser()
        shop.put(client, n=0)
        server.pause()
        start = time.monotonic()
        try:
            assert_unavailable(shop, client, dict)
            took = time.monotonic() - start
            untouched = shop.visit(client, lambda _: None)
        finally:
            server.resume()

        assert untouched.status_code == 200
        assert took < 5
        assert shop.ask(client, count_up) == 1
        assert shop.read(client) == {"n": 1}


def test_write_to_a_server_that_stops_answering_is_not_acknowledged(
    make_shop: MakeShop,
) -> None:
    closed = []

    class Body(list[bytes]):
        def close(self) -> None:
            closed.append(True)

    with RedisServer() as server:
        shop = make_shop(server.url, REDIS_TIMEOUT=0.5)

        @shop.app.after_request
        def stream(response: flask.Response) -> flask.Response:
            response.response = Body([b"done"])
            return response

        client = shop.browser()
        shop.put(client, n=0)

        def act(session: SessionMixin) -> None:
            count_up(session)
            server.pause()

        try:
            assert_unavailable(shop, client, act)
        finally:
            server.resume()

        assert True in closed
        assert shop.read(client)["n"] in (0, 1)


def test_full_server_refuses_writes_and_takes_logouts(make_shop: MakeShop) -> None:
    flags = ["--maxmemory", "4mb", "--maxmemory-policy", "noeviction"]
    with RedisServer(flags=flags) as server:
        shop = make_shop(server.url)
        client, leaving = shop.browser(), shop.browser()
        for one in (client, leaving):
            shop.login(one, "ann")
        fill = shop.redis()
        for size in (50_000, 100, 1):
            with contextlib.suppress(redis.ResponseError):
                while True:
                    fill.append(f"junk{size}", b"x" * size)

        assert_unavailable(shop, client, count_up)
        assert_unavailable(shop, shop.browser(), count_up)
        assert shop.read(client) == {"user": "ann"}
        shop.ask(leaving, lambda session: session.clear())
        assert shop.read(leaving) == {}
        fill.delete("junk50000", "junk100", "junk1")

        assert shop.ask(client, count_up) == 1


def test_replica_that_cannot_write_heals_when_it_can(make_shop: MakeShop) -> None:
    with RedisServer() as first, RedisServer() as second:
        shop = make_shop(second.url)
        client = shop.browser()
        shop.put(client, n=1)
        key = shop.redis().keys()[0]
        with redis.Redis.from_url(first.url) as other:
            other.restore(key, 0, shop.redis().dump(key))
        shop.redis().replicaof(first.host, first.port)
        deadline = time.monotonic() + 20
        while shop.redis().info("replication")["master_link_status"] != "up":
            assert time.monotonic() < deadline
            time.sleep(0.05)

        assert_unavailable(shop, client, dict)
        assert_unavailable(shop, shop.browser(), count_up)
        shop.redis().replicaof("NO", "ONE")

        assert shop.ask(client, count_up) == 2


def test_wrong_password_is_refused_and_not_shown(
    make_shop: MakeShop,
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shop = make_shop(redis_server.url.replace("secret", "sesame"))

    writing = shop.visit(shop.browser(), count_up)
    shop.app.testing = True
    with pytest.raises(quorum.ServiceRefusedError, match="the server refused"):
        shop.visit(shop.browser(), count_up)
    with shop.app.app_context(), pytest.raises(quorum.ServiceRefusedError):
        quorum.revoke_sessions("ann")

    assert writing.status_code == 500
    assert "ServiceRefusedError" in caplog.text
    assert "sesame" not in caplog.text


@pytest.fixture
def closed(make_shop: MakeShop) -> Shop:
    """Return a shop whose Redis is not there, and a session that was."""
    server = RedisServer()
    server.start()
    shop = make_shop(server.url)
    shop.app.register_error_handler(503, lambda error: ("Come back.", 503))
    client = shop.browser()
    shop.put(client, n=1)
    server.stop()
    shop.app.config["COOKIE"] = cookie_of(client)
    return shop


def test_page_of_the_app_is_shown_when_redis_is_gone(closed: Shop) -> None:
    client = closed.browser(closed.app.config["COOKIE"])

    reading = closed.visit(client, dict)
    writing = closed.visit(closed.browser(), count_up)

    assert (reading.status_code, reading.text) == (503, "Come back.")
    assert (writing.status_code, writing.text) == (503, "Come back.")


def test_view_may_do_without_its_session(closed: Shop) -> None:
    def act(session: SessionMixin) -> str:
        try:
            return str(session["n"])
        except quorum.ServiceUnavailableError as error:
            start = time.monotonic()
            with pytest.raises(quorum.ServiceUnavailableError):
                session.get("n")
            assert time.monotonic() - start < 0.5
            return str(error)

    client = closed.browser(closed.app.config["COOKIE"])

    said = closed.ask(client, act)

    assert said.startswith("redis at 127.0.0.1:")


def test_login_works_on_a_server(redis_server: RedisServer) -> None:
    port = free_port()
    env = clean_environment(SECRET_KEY="key", REDISTOGO_URL=redis_server.url)
    arguments = ["-m", "flask", "--app", "login", "run", "--port", str(port)]

    with running(*arguments, cwd=EXAMPLES, env=env) as process:
        url = f"http://127.0.0.1:{port}"
        get(f"{url}/", process)

        assert log_in_and_out(url) == LOGIN_SAYS


def test_revocation_that_did_not_happen_is_an_error(closed: Shop) -> None:
    with closed.app.app_context(), pytest.raises(quorum.ServiceUnavailableError):
        quorum.revoke_sessions("ann")
