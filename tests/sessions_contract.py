"""What sessions promise, on every engine; the attacks are in ``test_sessions.py``."""

import itertools
import time
import typing as t
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import flask
import pytest
from flask.sessions import SessionMixin
from flask.testing import FlaskClient
from markupsafe import Markup
from werkzeug.test import TestResponse

import quorum
from quorum import sessions
from quorum.sessionstore import VERSION_SIZE, join, split
from tests.conftest import MakeApp

Action: t.TypeAlias = Callable[[SessionMixin], object]


class Shop:
    """An app whose only view does to the session what the visitor brings along."""

    def __init__(self, app: flask.Flask) -> None:
        self.app = app
        self.seen: dict[str, t.Any] = {}
        self._actions: dict[str, Action] = {}
        self._counter = itertools.count()
        app.add_url_rule("/", view_func=self._act, methods=["GET", "POST"])

    def _act(self) -> str:
        name = flask.request.headers["Action"]
        self.seen[name] = self._actions.pop(name)(flask.session)
        return "done"

    def visit(
        self, client: FlaskClient, action: Action, **options: t.Any
    ) -> TestResponse:
        """Have the view call the action, in a request of the client."""
        name = str(next(self._counter))
        self._actions[name] = action
        response = client.open("/", headers={"Action": name}, **options)
        self.seen["last"] = self.seen.pop(name, None)
        return response

    def ask(self, client: FlaskClient, action: Action, **options: t.Any) -> t.Any:
        """Return what the action returns; the request has to go well."""
        response = self.visit(client, action, **options)
        assert response.status == "200 OK", response.text
        return self.seen["last"]

    def read(self, client: FlaskClient) -> dict[str, t.Any]:
        """Return what the client's session holds."""
        return t.cast("dict[str, t.Any]", self.ask(client, dict))

    def put(self, client: FlaskClient, **values: object) -> TestResponse:
        """Put values into the client's session."""
        return self.visit(client, lambda session: session.update(values))

    def login(self, client: FlaskClient, user: object) -> None:
        """Log a user in, as the manual shows it."""

        def act(session: SessionMixin) -> None:
            quorum.bind_session(user)
            session["user"] = user

        self.ask(client, act)

    def browser(self, cookie: str = "") -> FlaskClient:
        """Return a client, with a copy of a cookie if there is one."""
        client = self.app.test_client()
        if cookie:
            client.set_cookie("session", cookie)
        return client

    def key(self) -> str:
        """Return the Redis key of the only session that there is."""
        (key,) = self.redis().keys(f"{self.app.name}:session:*")
        return t.cast(bytes, key).decode()

    def fields(self) -> dict[bytes, bytes]:
        """Return the stored fields of the only session that there is."""
        return split(self.redis().get(self.key()))

    def store(self, **fields: bytes) -> None:
        """Change stored fields behind the session's back."""
        changed = {name.encode(): value for name, value in fields.items()}
        stored = join(b"v" * VERSION_SIZE, self.fields() | changed)
        self.redis().set(self.key(), stored, keepttl=True)

    def redis(self) -> t.Any:
        with self.app.app_context():
            return quorum.get_redis()


def cookie_of(client: FlaskClient) -> str:
    """Return the session cookie that a client would send; empty without one."""
    cookie = client.get_cookie("session")
    return cookie.value if cookie else ""


#: One value of each kind that Flask's tagged JSON keeps.
VALUES: dict[str, t.Any] = {
    "none": None,
    "number": 1.5,
    "large": 2**70,
    "text": "é\u2028\U0001f600",
    "list": [1, [2, {"a": (3, [])}]],
    "tuple": (1, (2,), []),
    "bytes": b"\x00\xff",
    "markup": Markup("<b>hello</b>"),
    "uuid": uuid.UUID(int=7),
    "date": datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
    "tag": {" t": [1]},
    "empty": {},
    "": "a key may be empty",
    "@end": "a key may look like one of ours",
}


class SessionContract:
    """Subclasses say by the fixture ``url`` where sessions are kept."""

    @pytest.fixture
    def shop(self, make_app: MakeApp, url: str) -> Iterator[Shop]:
        app = make_app(
            uuid.uuid4().hex, redis_session=True, secret_key="key", REDISTOGO_URL=url
        )
        shop = Shop(app)
        yield shop
        with app.app_context():
            for key in shop.redis().keys(f"{app.name}:*"):
                shop.redis().delete(key)

    def test_values_keep_their_types(self, shop: Shop) -> None:
        client = shop.browser()

        shop.put(client, **VALUES)

        found = shop.read(client)
        assert found == VALUES
        assert {key: type(value) for key, value in found.items()} == {
            key: type(value) for key, value in VALUES.items()
        }

    def test_session_is_a_mapping(self, shop: Shop) -> None:
        client = shop.browser()
        shop.put(client, a=1, b=2)

        def act(session: SessionMixin) -> object:
            del session["a"]
            return ("a" in session, len(session), list(session), session.get("a"))

        assert shop.ask(client, act) == (False, 1, ["b"], None)
        assert shop.ask(client, lambda session: session.pop("b")) == 2
        assert shop.read(client) == {}

    def test_changes_inside_of_values_are_found(self, shop: Shop) -> None:
        client = shop.browser()
        shop.put(client, cart={"lines": [{"n": 1}]}, pair=([],), other=[1])

        def act(session: SessionMixin) -> None:
            session["cart"]["lines"][0]["n"] = True
            session["pair"][0].append(b"x")
            _ = session["other"]

        shop.ask(client, act)

        assert repr(shop.read(client)["cart"]) == "{'lines': [{'n': True}]}"
        assert shop.read(client)["pair"] == ([b"x"],)

    def test_parallel_changes_of_different_keys_both_win(self, shop: Shop) -> None:
        client = shop.browser()
        shop.put(client, first=0, second=0, third=0)
        other = shop.browser(cookie_of(client))

        def act(session: SessionMixin) -> None:
            session["first"] = 1
            del session["third"]
            shop.put(other, second=2, fourth=4)

        shop.ask(client, act)

        assert shop.read(client) == {"first": 1, "second": 2, "fourth": 4}

    def test_of_parallel_changes_of_one_key_the_later_write_wins(
        self, shop: Shop
    ) -> None:
        client = shop.browser()
        shop.put(client, key=0)
        other = shop.browser(cookie_of(client))

        def act(session: SessionMixin) -> None:
            session["key"] = "later"
            shop.put(other, key="earlier")

        shop.ask(client, act)

        assert shop.read(other) == {"key": "later"}

    def test_key_that_was_removed_last_leaves_room_for_others(self, shop: Shop) -> None:
        client = shop.browser()
        shop.put(client, flash="hello")
        other = shop.browser(cookie_of(client))

        def act(session: SessionMixin) -> None:
            del session["flash"]
            shop.put(other, cart=1)

        shop.ask(client, act)

        assert shop.read(client) == {"cart": 1}

    @pytest.mark.parametrize("rotates", [False, True])
    @pytest.mark.parametrize("how", ["logout", "rotation", "revocation"])
    def test_ended_session_is_not_brought_back_by_a_slower_request(
        self, shop: Shop, how: str, rotates: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = shop.browser()
        shop.login(client, "ann")
        cookie = cookie_of(client)
        other = shop.browser(cookie)
        ends: dict[str, Action] = {
            "logout": lambda session: session.clear(),
            "rotation": lambda _: quorum.rotate_session(),
            "revocation": lambda _: quorum.revoke_sessions("ann"),
        }

        def act(session: SessionMixin) -> None:
            session["user"] = "mallory"
            if rotates:
                quorum.rotate_session()
            shop.ask(other, ends[how])

        response = shop.visit(client, act)

        assert response.headers.getlist("Set-Cookie") == []
        assert "A session that had ended meanwhile was not changed." in caplog.text
        assert shop.read(shop.browser(cookie)) == {}
        assert shop.read(other) == ({"user": "ann"} if how == "rotation" else {})

    def test_rotation_keeps_the_data_under_another_identifier(self, shop: Shop) -> None:
        client = shop.browser()
        shop.put(client, cart=[1], flash="hello")
        before = cookie_of(client)

        def act(session: SessionMixin) -> None:
            quorum.rotate_session()
            session["cart"].append(2)
            del session["flash"]

        shop.ask(client, act)

        assert cookie_of(client) != before
        assert sorted(shop.fields()) == [b"=cart", b"@end"]
        assert shop.read(client) == {"cart": [1, 2]}
        assert shop.read(shop.browser(before)) == {}

    def test_rotation_of_nothing_makes_nothing(self, shop: Shop) -> None:
        client = shop.browser()

        shop.ask(client, lambda _: quorum.rotate_session())

        assert cookie_of(client) == ""
        assert shop.redis().keys(f"{shop.app.name}:*") == []

    def test_clear_ends_the_session_and_deletes_the_cookie(self, shop: Shop) -> None:
        client = shop.browser()
        shop.put(client, cart=1)

        def act(session: SessionMixin) -> None:
            session.clear()
            session["cart"] = 2
            session.clear()

        shop.ask(client, act)

        assert cookie_of(client) == ""
        assert shop.redis().keys(f"{shop.app.name}:*") == []

    def test_what_is_put_in_after_clear_begins_another_session(
        self, shop: Shop
    ) -> None:
        client = shop.browser()
        shop.put(client, cart=1)
        before = cookie_of(client)

        def act(session: SessionMixin) -> None:
            quorum.rotate_session()
            session.clear()
            session["user"] = "ann"

        shop.ask(client, act)

        assert shop.read(client) == {"user": "ann"}
        assert shop.read(shop.browser(before)) == {}
        assert len(shop.redis().keys(f"{shop.app.name}:*")) == 1

    def test_revocation_ends_the_sessions_of_one_user_only(self, shop: Shop) -> None:
        ann, again, bob, guest = (shop.browser() for _ in range(4))
        for client, user in ((ann, 7), (again, 7), (bob, 8)):
            shop.login(client, user)
        shop.put(guest, user=None)

        with shop.app.app_context():
            quorum.revoke_sessions(7)

        found = [shop.read(client) for client in (ann, again, bob, guest)]
        assert found == [{}, {}, {"user": 8}, {"user": None}]

    def test_index_of_a_user_has_the_sessions_that_live_and_no_others(
        self, shop: Shop
    ) -> None:
        client, other = shop.browser(), shop.browser()
        shop.login(client, "ann")
        redis, name = shop.redis(), shop.app.name
        (index,) = redis.keys(f"{name}:user:*")
        now = int(time.time() * 1000)
        latest = now + 9_000_000_000
        redis.zadd(index, {"of another process": latest, "expired": now - 1})

        shop.login(other, "ann")
        shop.ask(client, lambda _: quorum.rotate_session())

        found = set(redis.zrange(index, 0, -1))
        assert found == {b"of another process", *redis.keys(f"{name}:session:*")}
        assert len(found) == 3
        assert abs(redis.pttl(index) - (latest - now)) < 60_000
        with shop.app.app_context():
            quorum.revoke_sessions("ann")
        assert redis.keys(f"{name}:*") == []

    def test_user_who_logs_in_after_the_revocation_stays(self, shop: Shop) -> None:
        client, other = shop.browser(), shop.browser()
        for one in (client, other):
            shop.login(one, "ann")

        def leave_elsewhere(session: SessionMixin) -> None:
            kept = dict(session)
            quorum.revoke_sessions("ann")
            session.clear()
            session.update(kept)
            quorum.bind_session("ann")

        shop.ask(client, leave_elsewhere)

        assert shop.read(client) == {"user": "ann"}
        assert shop.read(other) == {}

    def test_login_begins_without_data(self, shop: Shop) -> None:
        client = shop.browser()

        shop.ask(client, lambda _: quorum.bind_session("ann"))

        assert shop.ask(client, lambda session: session.new) is False

    def test_session_is_new_until_redis_has_it(self, shop: Shop) -> None:
        client = shop.browser()

        assert shop.ask(client, lambda session: session.new) is True
        shop.put(client, cart=1)
        assert shop.ask(client, lambda session: session.new) is False
        client.set_cookie("session", "unknown")
        assert shop.ask(client, lambda session: session.new) is True

    def test_session_lives_as_long_as_it_is_looked_at(self, shop: Shop) -> None:
        client = shop.browser()
        shop.put(client, cart=1)
        key = shop.key()
        shop.redis().pexpire(key, 5000)

        shop.visit(client, lambda _: None)
        untouched = shop.redis().pttl(key)
        shop.read(client)

        assert untouched <= 5000
        assert 80_000_000 < shop.redis().pttl(key) <= 86_400_000

    def test_session_that_expired_is_gone(self, shop: Shop) -> None:
        client = shop.browser()
        shop.put(client, cart=1)
        key = shop.key()

        shop.redis().pexpire(key, 0)

        assert shop.read(client) == {}

    def test_permanent_session_lives_as_flask_says(self, shop: Shop) -> None:
        shop.app.config["PERMANENT_SESSION_LIFETIME"] = timedelta(days=20)
        client = shop.browser()
        shop.visit(client, lambda session: setattr(session, "permanent", True))
        key = shop.key()

        assert 19 * 86400 < shop.redis().ttl(key) <= 20 * 86400
        shop.app.config["PERMANENT_SESSION_LIFETIME"] = 60
        shop.read(client)
        assert shop.redis().ttl(key) <= 60

    def test_session_does_not_outlive_its_lifetime(self, shop: Shop) -> None:
        client = shop.browser()
        shop.put(client, cart=1)
        now = int(time.time() * 1000)
        end = int(shop.fields()[b"@end"])

        assert abs(end - now - 2_678_400_000) < 60_000
        shop.store(**{"@end": b"%d" % (now + 60_000)})
        assert shop.read(client) == {"cart": 1}
        shop.put(client, cart=2)
        assert 0 < shop.redis().ttl(shop.key()) <= 60
        shop.store(**{"@end": b"%d" % now})

        assert shop.read(client) == {}

    def test_session_that_ends_during_a_request_is_not_prolonged(
        self, shop: Shop
    ) -> None:
        client = shop.browser()
        shop.put(client, cart=1)
        ended = {"@end": b"%d" % (time.time() * 1000)}

        def write(session: SessionMixin) -> None:
            session["cart"] = 2
            shop.store(**ended)

        def rotate(_: SessionMixin) -> None:
            quorum.rotate_session()
            shop.store(**ended)

        for act in (rotate, write):
            shop.ask(client, act)
            time.sleep(0.01)
            assert shop.read(client) == {}
            shop.put(client, cart=1)

    def test_login_begins_the_lifetime_anew(self, shop: Shop) -> None:
        client = shop.browser()
        shop.put(client, cart=1)
        end = int(shop.fields()[b"@end"])
        shop.store(**{"@end": b"%d" % (end - 2_600_000_000)})

        shop.ask(client, lambda _: quorum.bind_session("ann"))

        assert int(shop.fields()[b"@end"]) >= end

    @pytest.mark.parametrize("raw", ["", "\x00", "{", '{" u":"x"}', "[" * 100_000])
    def test_value_that_cannot_be_read_is_dropped(
        self, shop: Shop, raw: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = shop.browser()
        shop.put(client, good=1, bad=2)
        shop.store(**{"=bad": raw.encode()})

        found = shop.ask(client, lambda s: ("bad" in s, s.get("bad")))

        assert found == (False, None)
        assert "The session's 'bad' cannot be read" in caplog.text
        assert b"=bad" not in shop.fields()
        assert shop.read(client) == {"good": 1}

    @pytest.mark.parametrize(
        "stored",
        [
            "",
            "{}",
            *(
                "v" * VERSION_SIZE + rest
                for rest in (
                    "",
                    "\x80\x04.",
                    "-9 -9 ",
                    "4 -1 @end",
                    "1 ",
                    "4 4 @endsoon",
                    "1 1 ab",
                    "4 14 @end9999999999999",
                    "4 13 @end99999999999991 ",
                )
            ),
        ],
    )
    def test_session_that_cannot_be_read_is_dropped(
        self, shop: Shop, stored: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = shop.browser()
        shop.put(client, cart=1)
        key = shop.key()
        shop.redis().set(key, stored)

        assert shop.read(client) == {}
        assert "A stored session cannot be read, and is dropped." in caplog.text
        assert shop.redis().exists(key) == 0
        assert shop.put(client, cart=2).status_code == 200

    def test_scripts_are_sent_again_to_a_server_that_forgot_them(
        self, shop: Shop
    ) -> None:
        client = shop.browser()
        shop.put(client, cart=1)

        shop.redis().script_flush()

        assert shop.read(client) == {"cart": 1}

    def test_write_that_is_tried_again_is_done_once(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = shop.browser()
        shop.put(client, cart=1)
        run = sessions.RedisSessionInterface._run

        def run_twice(*arguments: t.Any) -> t.Any:
            run(*arguments)
            return run(*arguments)

        monkeypatch.setattr(sessions.RedisSessionInterface, "_run", run_twice)

        def act(session: SessionMixin) -> None:
            quorum.bind_session("ann")
            session["cart"] = 2

        shop.ask(client, act)
        shop.ask(client, lambda _: quorum.rotate_session())

        assert shop.read(client) == {"cart": 2}
        assert len(shop.redis().keys(f"{shop.app.name}:session:*")) == 1
