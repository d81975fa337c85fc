"""Sessions in memory: their contract, their cookie, and what cannot be stored."""

import base64
import decimal
import logging
import typing as t
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import flask
import pytest
from flask.json.tag import JSONTag
from flask.sessions import (
    SecureCookieSessionInterface,
    SessionMixin,
    session_json_serializer,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markupsafe import Markup

import quorum
from quorum import sessions
from quorum.engines.packing import Packing
from tests.conftest import MakeApp
from tests.sessions_contract import SessionContract, Shop, cookie_of


class TestSessionsInMemory(SessionContract):
    @pytest.fixture
    def url(self) -> str:
        return "memory:"


@pytest.fixture
def shop(make_app: MakeApp) -> Shop:
    return Shop(make_app(redis_session=True, SECRET_KEY="key", REDIS_URL="memory:"))


def test_load_needs_a_redis(make_app: MakeApp) -> None:
    with pytest.raises(quorum.SettingMissingError, match=r"^REDISTOGO_URL.*memory:"):
        make_app(redis_session=True, secret_key="key")


@pytest.mark.parametrize("key", [None, ""])
def test_load_needs_a_secret_key(make_app: MakeApp, key: str | None) -> None:
    with pytest.raises(quorum.SettingMissingError, match=r"^SECRET_KEY .*random text"):
        make_app(redis_session=True, secret_key=key, REDISTOGO_URL="memory:")


def test_secret_key_may_be_the_apps_own() -> None:
    app = flask.Flask("shop")
    app.secret_key = b"\xff"

    quorum.load(app, redis_session=True, REDISTOGO_URL="memory:")

    shop = Shop(app)
    client = shop.browser()
    shop.put(client, cart=1)
    assert shop.read(client) == {"cart": 1}


@pytest.mark.parametrize("own", [None, SecureCookieSessionInterface()])
def test_unload_gives_the_app_its_sessions_back(
    own: SecureCookieSessionInterface | None,
) -> None:
    app = flask.Flask("shop")
    if own is not None:
        app.session_interface = own
    before = app.session_interface, sorted(vars(app))

    quorum.load(app, redis_session=True, secret_key="key", REDISTOGO_URL="memory:")
    assert isinstance(app.session_interface, sessions.RedisSessionInterface)
    quorum.unload()

    assert (app.session_interface, sorted(vars(app))) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SESSION_IDLE", "0"),
        ("SESSION_LIFETIME", "-1"),
        ("SESSION_LIMIT", "0"),
        ("SESSION_LIMIT", "1.5"),
    ],
)
def test_bad_limit_is_reported(make_app: MakeApp, name: str, value: str) -> None:
    with pytest.raises(quorum.ConfigError, match=rf"^{name} "):
        make_app(**{name: value})


def test_limits_are_kept(make_app: MakeApp) -> None:
    shop = Shop(
        make_app(
            redis_session=True,
            secret_key="key",
            REDISTOGO_URL="memory:",
            SESSION_IDLE=50,
            SESSION_LIFETIME=1e300,
        )
    )

    shop.put(shop.browser(), cart=1)

    (key,) = shop.redis().keys()
    assert 40 < shop.redis().ttl(key) <= 50


def test_identifiers_have_256_bits_and_are_different(shop: Shop) -> None:
    clients = [shop.browser() for _ in range(20)]
    for client in clients:
        shop.put(client, cart=1)

    identifiers = {cookie_of(client).partition(".")[0] for client in clients}

    assert len(identifiers) == 20
    assert {len(base64.urlsafe_b64decode(f"{one[1:]}=")) for one in identifiers} == {32}


def test_untouched_session_says_nothing(shop: Shop) -> None:
    client = shop.browser()
    shop.put(client, cart=1)

    response = shop.visit(client, lambda _: None)

    assert "Set-Cookie" not in response.headers


def test_vary_is_there_exactly_when_the_session_was_looked_at(
    make_app: MakeApp,
) -> None:
    app = make_app(redis_session=True, SECRET_KEY="key", REDIS_URL="memory:")
    pages = {"untouched": "", "looked": "{{ 'cart' in session }}"}
    app.add_url_rule(
        "/<name>", "page", lambda name: flask.render_template_string(pages[name])
    )
    client = app.test_client()

    assert client.get("/untouched").headers.get("Vary") is None
    assert client.get("/looked").headers.get("Vary") == "Cookie"


def test_vary_of_the_view_is_kept(shop: Shop) -> None:
    client = shop.browser()

    @shop.app.after_request
    def vary(response: flask.Response) -> flask.Response:
        response.vary.update(["Accept", "cookie"])
        return response

    response = shop.visit(client, dict)

    assert response.headers.getlist("Vary") == ["Accept, cookie"]


def test_cookie_is_set_only_when_it_says_something_new(shop: Shop) -> None:
    client = shop.browser()

    def cookies(action: t.Any) -> int:
        return len(shop.visit(client, action).headers.getlist("Set-Cookie"))

    assert cookies(dict) == 0
    assert cookies(lambda session: session.update(cart=1)) == 1
    assert cookies(dict) == 0
    assert cookies(lambda session: session.update(cart=2)) == 0
    assert cookies(lambda session: setattr(session, "permanent", True)) == 1
    assert cookies(dict) == 1
    assert cookies(lambda _: None) == 0
    shop.app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    assert cookies(dict) == 0
    assert cookies(lambda session: session.update(cart=3)) == 1
    assert cookies(lambda session: setattr(session, "permanent", False)) == 1
    assert cookies(dict) == 0
    assert cookies(lambda session: session.clear()) == 1


@pytest.mark.parametrize("secure", [False, True])
def test_cookie_is_kept_from_scripts_and_if_told_from_open_connections(
    shop: Shop, secure: bool
) -> None:
    shop.app.config["SESSION_COOKIE_SECURE"] = secure
    client = shop.browser()

    (cookie,) = shop.put(client, cart=1).headers.getlist("Set-Cookie")

    attributes = {"HttpOnly", "Path=/", *["Secure"] * secure}
    assert set(cookie.split("; ")[1:]) == attributes


def test_session_that_is_no_longer_permanent_ends_with_the_browser(shop: Shop) -> None:
    client = shop.browser()
    shop.visit(client, lambda session: setattr(session, "permanent", True))

    response = shop.visit(client, lambda session: setattr(session, "permanent", False))

    assert "Expires" not in response.headers["Set-Cookie"]
    assert shop.redis().ttl(shop.key()) <= 86_400


@pytest.mark.parametrize("ending", ["", "; Expires="])
def test_cookie_has_the_attributes_that_flask_gives_it(
    make_app: MakeApp, ending: str
) -> None:
    app = make_app(
        redis_session=True,
        SECRET_KEY="key",
        REDIS_URL="memory:",
        SESSION_COOKIE_NAME="sid",
        SESSION_COOKIE_DOMAIN="example.org",
        SESSION_COOKIE_PATH="/app",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=False,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_PARTITIONED=True,
    )
    shop = Shop(app)
    client = shop.browser()
    options = {"base_url": "https://example.org/app/"}
    app.config["APPLICATION_ROOT"] = "/app"
    app.add_url_rule("/app/", view_func=app.view_functions["_act"])

    def begin(session: SessionMixin) -> None:
        session.permanent = bool(ending)

    begun = shop.visit(client, begin, **options)
    ended = shop.visit(client, lambda session: session.clear(), **options)

    (cookie,) = begun.headers.getlist("Set-Cookie")
    (deletion,) = ended.headers.getlist("Set-Cookie")
    rest = "Domain=example.org; Secure; Path=/app; SameSite=Strict; Partitioned"
    assert cookie.startswith("sid=")
    assert deletion.startswith("sid=; ")
    assert "; Expires=Thu, 01 Jan 1970 00:00:00 GMT" in deletion
    assert ("; Expires=" in cookie) is bool(ending)
    for part in rest.split("; "):
        assert part in cookie.split("; ")
        assert part in deletion.split("; ")
    assert "HttpOnly" not in cookie + deletion


CHANGES: dict[str, t.Callable[[SessionMixin], object]] = {
    "set": lambda session: session.update(cart=2),
    "delete": lambda session: session.pop("cart"),
    "clear": lambda session: session.clear(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_session_tells_that_it_was_modified(shop: Shop, name: str) -> None:
    client = shop.browser()
    shop.put(client, cart=1)

    def act(session: SessionMixin) -> tuple[bool, bool]:
        _ = session["cart"]
        before = session.modified
        CHANGES[name](session)
        return before, session.modified

    assert shop.ask(client, act) == (False, True)


def test_session_is_saved_for_a_view_that_fails(shop: Shop) -> None:
    client = shop.browser()

    def act(session: SessionMixin) -> None:
        session["cart"] = 1
        raise LookupError

    assert shop.visit(client, act).status_code == 500
    assert shop.read(client) == {"cart": 1}


def test_transaction_of_the_test_client_works(shop: Shop) -> None:
    client = shop.browser()
    with client.session_transaction() as session:
        session["cart"] = [1]

    assert shop.read(client) == {"cart": [1]}
    with client.session_transaction() as session:
        session["cart"].append(2)
    assert shop.read(client) == {"cart": [1, 2]}


def test_session_can_be_looked_at_after_the_response(shop: Shop) -> None:
    client = shop.browser()

    with client:
        shop.put(client, cart=1)

        assert dict(flask.session) == {"cart": 1}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (decimal.Decimal(1), "Decimal is not JSON serializable"),
        ({1, 2}, "set is not JSON serializable"),
        ({(1,): 2}, "keys must be str"),
        ([object()], "object is not JSON serializable"),
        ([10**5000], "digits"),
    ],
)
def test_value_that_cannot_be_stored_is_named(
    shop: Shop, value: object, reason: str
) -> None:
    shop.app.testing = True
    client = shop.browser()
    shop.put(client, cart=[])
    before = shop.read(client)

    with pytest.raises(quorum.SessionValueError, match=reason) as caught:
        shop.ask(client, lambda session: session["cart"].append(value))

    assert caught.value.key == "cart"
    assert str(caught.value).startswith("The session's 'cart' cannot be stored: ")
    assert shop.read(client) == before


@pytest.mark.parametrize("key", [1, None, "\ud800"])
def test_key_that_cannot_be_stored_is_named(shop: Shop, key: t.Any) -> None:
    shop.app.testing = True

    with pytest.raises(quorum.SessionValueError) as caught:
        shop.ask(shop.browser(), lambda session: session.update({key: 1}))

    assert caught.value.key == key


def test_value_that_holds_itself_is_named(shop: Shop) -> None:
    shop.app.testing = True
    value: list[object] = []
    value.append(value)

    with pytest.raises(quorum.SessionValueError, match="'cart'"):
        shop.put(shop.browser(), cart=value)


def test_error_of_the_session_is_logged_once(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)

    response = shop.put(shop.browser(), cart=object())

    assert response.status_code == 500
    assert "Set-Cookie" not in response.headers
    assert len(caplog.records) == 1
    assert "'cart' cannot be stored" in caplog.text


def test_redis_that_is_gone_is_logged_and_answered_with_503(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    client = shop.browser()
    shop.put(client, cart=1)
    server = shop.redis().connection_pool.connection_kwargs["server"]

    server.connected = False
    response = shop.visit(client, dict)
    server.connected = True

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    (record,) = [r for r in caplog.records if r.name == "quorum.sessions"]
    assert record.levelno == logging.ERROR
    assert "redis at memory:" in record.getMessage()
    assert shop.read(client) == {"cart": 1}


def test_session_that_could_not_be_read_is_not_asked_for_again(shop: Shop) -> None:
    client = shop.browser()
    shop.put(client, cart=1)
    server = shop.redis().connection_pool.connection_kwargs["server"]

    def act(session: SessionMixin) -> None:
        for connected in (False, True):
            server.connected = connected
            with pytest.raises(quorum.ServiceUnavailableError):
                dict(session)

    shop.ask(client, act)

    assert shop.read(client) == {"cart": 1}


def test_session_over_its_limit_names_the_largest_change(make_app: MakeApp) -> None:
    shop = Shop(
        make_app(
            redis_session=True,
            SECRET_KEY="key",
            REDIS_URL="memory:",
            SESSION_LIMIT=1000,
            TESTING=True,
        )
    )
    client = shop.browser()
    shop.put(client, old="x" * 898, small=1)
    assert len(shop.read(client)["old"]) == 898

    with pytest.raises(
        quorum.SessionValueError, match="there are 1009 bytes, SESSION_L"
    ) as caught:
        shop.put(client, large="y" * 100, little=22)

    assert caught.value.key == "large"
    assert shop.put(client, large="y" * 93).status_code == 200
    shop.ask(client, lambda session: session.pop("old"))
    assert shop.put(client, large="y" * 994).status_code == 200


def test_bytes_are_the_same_with_and_without_a_context(shop: Shop) -> None:
    value = {"b": 1, "a": Markup("<é>")}

    with shop.app.app_context():
        inside = Packing().encode(value)

    assert Packing().encode(value) == inside
    assert b'{" m":"<\\u00e9>"}' in inside


class Money(t.NamedTuple):
    cents: int


class MoneyTag(JSONTag):
    key = " money"

    def check(self, value: object) -> bool:
        return isinstance(value, Money)

    def to_json(self, value: Money) -> int:
        return value.cents

    def to_python(self, value: int) -> Money:
        return Money(value)


@pytest.fixture
def money_tag(shop: Shop) -> Iterator[None]:
    interface = t.cast(SecureCookieSessionInterface, shop.app.session_interface)
    interface.serializer.register(MoneyTag, index=0)
    yield
    interface.serializer.order.pop(0)
    del interface.serializer.tags[MoneyTag.key]


@pytest.mark.usefixtures("money_tag")
def test_tags_of_the_app_count(shop: Shop) -> None:
    client = shop.browser()
    shop.put(client, price=[Money(5)])

    shop.ask(client, lambda session: session["price"].append(Money(6)))

    assert shop.read(client) == {"price": [Money(5), Money(6)]}
    assert type(shop.read(client)["price"][0]) is Money


CALLS: dict[str, t.Callable[[], None]] = {
    "rotate_session()": lambda: quorum.rotate_session(),
    "bind_session()": lambda: quorum.bind_session("ann"),
    "revoke_sessions()": lambda: quorum.revoke_sessions("ann"),
}


@pytest.mark.parametrize("name", CALLS)
def test_sessions_in_cookies_can_do_less(make_app: MakeApp, name: str) -> None:
    app = make_app(SECRET_KEY="key", REDIS_URL="memory:")

    with app.test_request_context(), pytest.raises(quorum.UnsupportedError) as caught:
        CALLS[name]()

    assert str(caught.value) == (
        f"{name} on sessions that are in cookies is not supported. "
        "Load the app with redis_session=True."
    )


@pytest.mark.parametrize("name", ["rotate_session()", "bind_session()"])
def test_there_is_no_session_without_a_request(shop: Shop, name: str) -> None:
    with (
        shop.app.app_context(),
        pytest.raises(quorum.UnsupportedError, match="without a request"),
    ):
        CALLS[name]()


def test_revocation_needs_a_loaded_app() -> None:
    with pytest.raises(quorum.NotLoadedError):
        quorum.revoke_sessions("ann")


class User(quorum.Model):
    """Its text has all the fields, and changes with them."""

    password: str


@pytest.mark.parametrize(
    ("user", "kind"),
    [
        (None, "of the type NoneType"),
        ("", "''"),
        (object(), "of the type object"),
        (User(password="sesame"), "of the type User"),
        (b"ann", "of the type bytes"),
        ("ann\ud800", r"'ann\\ud800'"),
    ],
)
def test_what_does_not_name_a_user_is_refused(
    shop: Shop, user: object, kind: str
) -> None:
    said = (
        rf"^A user {kind} is not supported\. "
        r"Name the user by text, a whole number, a UUID or an ObjectId\.$"
    )

    def act(_: SessionMixin) -> None:
        for call in (quorum.bind_session, quorum.revoke_sessions):
            with pytest.raises(quorum.UnsupportedError, match=said):
                call(user)

    shop.ask(shop.browser(), act)


@pytest.mark.parametrize(
    "user", ["ann", 7, uuid.UUID(int=7), quorum.object_id("a" * 24)]
)
def test_a_user_is_the_same_as_their_text(shop: Shop, user: object) -> None:
    def act(session: SessionMixin) -> None:
        quorum.bind_session(user)
        session["a"] = 1

    client = shop.browser()
    shop.ask(client, act)

    with shop.app.app_context():
        quorum.revoke_sessions(str(user))

    assert shop.read(client) == {}


ANY = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def tagged(inner: st.SearchStrategy[t.Any]) -> st.SearchStrategy[t.Any]:
    keys = st.text(max_size=5) | st.sampled_from([" t", " b", " di", " d__", "a"])
    return (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
    )


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
    | st.text().map(Markup)
    | st.uuids()
    # Flask keeps them as HTTP dates: whole seconds, in UTC, years of four digits.
    | st.integers(-30_000_000_000, 250_000_000_000).map(
        lambda seconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    )
)
values = st.recursive(scalars, tagged, max_leaves=20)


def shape(value: object) -> object:
    """Return a value with its types, as equal values may be of different ones."""
    if isinstance(value, dict):
        return dict, [(key, shape(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [shape(item) for item in value]
    if isinstance(value, float):
        return float, repr(value)
    return type(value), value


@ANY
@given(value=values, key=st.text(st.characters(exclude_categories=["Cs"]), max_size=9))
def test_every_value_survives(shop: Shop, value: object, key: str) -> None:
    client = shop.browser()

    shop.put(client, **{key: value})

    (found,) = shop.read(client).items()
    assert found[0] == key
    assert shape(found[1]) == shape(value)


@given(value=values)
def test_values_come_back_as_flask_gives_them_back(value: object) -> None:
    packing = Packing()

    found = packing.decode(packing.encode(value))

    assert shape(found) == shape(
        session_json_serializer.loads(session_json_serializer.dumps(value))
    )


@ANY
@given(value=values)
def test_reading_is_no_change(shop: Shop, value: object) -> None:
    shop.redis().flushall()
    client = shop.browser()
    shop.put(client, key=value)

    def act(session: SessionMixin) -> None:
        _ = session["key"]
        shop.store(**{"=key": b"1"})  # a write would undo it

    shop.ask(client, act)

    assert shop.read(client) == {"key": 1}


@ANY
@given(value=values, other=values)
def test_every_change_inside_of_a_value_is_found(
    shop: Shop, value: object, other: object
) -> None:
    client = shop.browser()
    shop.put(client, key=[value])

    def act(session: SessionMixin) -> None:
        session["key"][0] = other

    shop.ask(client, act)

    assert shape(shop.read(client)["key"]) == shape([other])


@ANY
@given(cookie=st.text(st.characters(exclude_categories=["Cs"])))
def test_no_cookie_is_an_error(shop: Shop, cookie: str) -> None:
    client = shop.browser()
    client.set_cookie("session", cookie)

    assert shop.read(client) == {}
    assert shop.put(client, cart=1).status_code == 200
