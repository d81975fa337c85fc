"""Attacks on sessions; each of them succeeds against a broken variant of the code."""

import base64
import binascii
import hmac
import pathlib
import pickle
import typing as t
from collections.abc import Callable
from types import SimpleNamespace

import flask
import pytest
from flask.sessions import SessionMixin

import quorum
from quorum import redisdb, sessions, sessionstore
from quorum.engines.packing import Packing
from quorum.sessions import RedisSessionInterface
from quorum.sessionstore import split
from quorum.state import get_state
from tests.conftest import MakeApp
from tests.sessions_contract import Shop, cookie_of

Attack: t.TypeAlias = Callable[["Target"], None]
Patch: t.TypeAlias = pytest.MonkeyPatch


class Target:
    """Makes the apps that are attacked; they share one Redis."""

    def __init__(self, make_app: MakeApp, folder: pathlib.Path) -> None:
        self._make_app = make_app
        self._handle: t.Any = None
        self.folder = folder

    def make(self, name: str = "shop", **keywords: t.Any) -> Shop:
        keywords = {"secret_key": "key", "REDISTOGO_URL": "memory:"} | keywords
        app = self._make_app(name, redis_session=True, **keywords)
        handle = get_state(app).handle(redisdb.SERVICE)
        self._handle = self._handle or handle
        handle._engine = self._handle.engine
        return Shop(app)


def interface_of(shop: Shop) -> RedisSessionInterface:
    return t.cast(RedisSessionInterface, shop.app.session_interface)


def sign(shop: Shop, identifier: str) -> str:
    """Return a cookie as somebody makes it who has the secret key."""
    return interface_of(shop)._sign("key", identifier).decode()


def assert_dead(shop: Shop, *cookies: str) -> None:
    """Nobody finds anything with a cookie, nor puts anything where it points."""
    for cookie in cookies:
        attacker = shop.browser(cookie)
        assert shop.read(attacker) == {}, cookie
        shop.put(attacker, owner="attacker")
        assert cookie_of(attacker) != cookie
        assert cookie_of(attacker).partition(".")[0] != cookie.partition(".")[0]


def fixate_by_cookie(target: Target) -> None:
    shop = target.make()
    chosen = f"s{'A' * 43}"
    for cookie in (chosen, f"{chosen}.", f"{chosen}.{'A' * 43}"):
        victim = shop.browser(cookie)
        shop.login(victim, "ann")
        assert chosen not in cookie_of(victim)
        assert shop.read(shop.browser(cookie)) == {}


def fixate_with_a_live_session(target: Target) -> None:
    shop = target.make()
    attacker = shop.browser()
    shop.put(attacker, cart=1)
    victim = shop.browser(cookie_of(attacker))

    shop.login(victim, "ann")

    assert "user" not in shop.read(attacker)


NAMES = ("session", "sid", "session_id")


def fixate_by_query(target: Target) -> None:
    shop = target.make()
    attacker, victim = shop.browser(), shop.browser()
    shop.put(attacker, owner="attacker")
    planted = {name: cookie_of(attacker) for name in NAMES}

    found = shop.ask(victim, dict, query_string=planted)
    shop.visit(victim, lambda s: s.update(user="ann"), query_string=planted)

    assert found == {}
    assert shop.read(attacker) == {"owner": "attacker"}


def fixate_by_form(target: Target) -> None:
    shop = target.make()
    attacker, victim = shop.browser(), shop.browser()
    shop.put(attacker, owner="attacker")
    planted = {name: cookie_of(attacker) for name in NAMES}

    found = shop.ask(victim, dict, method="POST", data=planted)
    shop.visit(victim, lambda s: s.update(user="ann"), method="POST", data=planted)

    assert found == {}
    assert shop.read(attacker) == {"owner": "attacker"}


def change_one_bit(target: Target) -> None:
    shop = target.make()
    client = shop.browser()
    shop.put(client, user="ann")
    cookie = cookie_of(client)
    assert shop.read(shop.browser(cookie)) == {"user": "ann"}

    for place in range(len(cookie)):
        for bit in range(7):
            changed = chr(ord(cookie[place]) ^ 1 << bit)
            if changed.isprintable() and changed not in ' ",;\\':
                forged = cookie[:place] + changed + cookie[place + 1 :]
                assert shop.read(shop.browser(forged)) == {}, forged
    for forged in (f"{cookie}!", f"{cookie}=", cookie[:-1], cookie.lower()):
        assert shop.read(shop.browser(forged)) == {}, forged


def sign_an_unknown_identifier(target: Target) -> None:
    shop = target.make()

    assert_dead(shop, sign(shop, f"s{'A' * 43}"), sign(shop, "sA"))


def bring_the_cookie_of_another_app(target: Target) -> None:
    shop, other = target.make("shop"), target.make("other")
    client = other.browser()
    other.put(client, user="ann")

    assert_dead(shop, cookie_of(client))
    identifier = cookie_of(client).partition(".")[0]
    assert shop.read(shop.browser(sign(shop, identifier))) == {}


def replay_after_logout(target: Target) -> None:
    shop = target.make()
    client = shop.browser()
    shop.login(client, "ann")
    cookie = cookie_of(client)

    shop.ask(client, lambda session: session.clear())

    assert_dead(shop, cookie)


def replay_after_rotation(target: Target) -> None:
    shop = target.make()
    client = shop.browser()
    shop.login(client, "ann")
    cookie = cookie_of(client)

    shop.ask(client, lambda _: quorum.rotate_session())

    assert shop.read(client) == {"user": "ann"}
    assert_dead(shop, cookie)


def replay_after_revocation(target: Target) -> None:
    shop = target.make()
    client = shop.browser()
    shop.login(client, "ann")

    with shop.app.app_context():
        quorum.revoke_sessions("ann")

    assert_dead(shop, cookie_of(client))


def replay_after_rotation_and_revocation(target: Target) -> None:
    shop = target.make()
    client = shop.browser()
    shop.login(client, "ann")
    shop.ask(client, lambda _: quorum.rotate_session())
    assert shop.read(client) == {"user": "ann"}

    with shop.app.app_context():
        quorum.revoke_sessions("ann")

    assert_dead(shop, cookie_of(client))


def act_slowly_after_logout(target: Target, also: Callable[[], None]) -> None:
    shop = target.make()
    client = shop.browser()
    shop.login(client, "ann")
    cookie = cookie_of(client)

    def act(session: SessionMixin) -> None:
        session["slow"] = True
        also()
        shop.ask(shop.browser(cookie), lambda session: session.clear())

    shop.ask(client, act)

    assert shop.read(client) == {}
    assert_dead(shop, cookie)


def write_slowly_after_logout(target: Target) -> None:
    act_slowly_after_logout(target, lambda: None)


def rotate_slowly_after_logout(target: Target) -> None:
    act_slowly_after_logout(target, quorum.rotate_session)


def rotate_the_secret_key(target: Target) -> None:
    shop = target.make()
    client, lazy = shop.browser(), shop.browser()
    for one in (client, lazy):
        shop.login(one, "ann")
    old = cookie_of(client)

    shop.app.config.update(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["other", "key"])
    assert shop.read(client) == {"user": "ann"}
    assert cookie_of(client) != old
    shop.app.config["SECRET_KEY_FALLBACKS"] = None

    assert shop.read(client) == {"user": "ann"}
    assert_dead(shop, old, cookie_of(lazy))


def steal_a_dump(target: Target) -> None:
    shop = target.make()
    client = shop.browser()
    shop.login(client, "ann")
    redis = shop.redis()
    dump = [key.decode() for key in redis.scan_iter()]
    for key in (key for key in dump.copy() if redis.type(key) == b"string"):
        fields = split(redis.get(key))
        dump += [
            part.decode(errors="replace") for pair in fields.items() for part in pair
        ]
    dump += [redis.zrange(key, 0, -1)[0].decode() for key in redis.scan_iter("*user*")]
    parts = {part for text in dump for part in (text, *text.split(":"))}

    assert shop.read(client) == {"user": "ann"}
    for part in parts - {""}:
        for cookie in (part, sign(shop, part)):  # even with the secret key
            assert shop.read(shop.browser(cookie)) == {}


class Payload:
    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return pathlib.Path.touch, (self.path,)


def plant_a_program(target: Target) -> None:
    shop = target.make()
    client = shop.browser()
    shop.put(client, cart=1, other=2)
    path = target.folder / "executed"
    shop.store(
        **{
            "=cart": pickle.dumps(Payload(path)),
            "=other": f'{{"py/reduce":["pathlib.Path","{path}"]}}'.encode(),
        }
    )

    found = shop.read(client)

    assert not path.exists()
    assert found == {"other": {"py/reduce": ["pathlib.Path", str(path)]}}


def break_script(patch: Patch, name: str, old: str, new: str) -> None:
    script = getattr(sessions, name)
    assert old in script.text
    broken = redisdb.Script(script.text.replace(old, new))
    patch.setattr(sessions, name, broken)


def adopt_what_the_cookie_says(patch: Patch) -> None:
    def take(size: int) -> str:
        cookie = flask.request.cookies.get("session", "")
        return cookie.partition(".")[0][1:] or "B" * size

    patch.setattr(sessions, "secrets", SimpleNamespace(token_urlsafe=take))


def check_no_signature(patch: Patch) -> None:
    same = SimpleNamespace(compare_digest=lambda one, other: True, digest=hmac.digest)
    patch.setattr(sessions, "hmac", same)


def take_any_spelling_of_a_signature(patch: Patch) -> None:
    def compare(one: bytes, other: bytes) -> bool:
        first, second = (cookie.rpartition(b".")[2] + b"==" for cookie in (one, other))
        try:
            return base64.urlsafe_b64decode(first) == base64.urlsafe_b64decode(second)
        except binascii.Error:
            return False

    same = SimpleNamespace(compare_digest=compare, digest=hmac.digest)
    patch.setattr(sessions, "hmac", same)


def keep_the_identifier_at_login(patch: Patch) -> None:
    patch.setattr(sessions, "bind_session", lambda user: None)
    patch.setattr(quorum, "bind_session", lambda user: None)


def look_into_query_and_form(patch: Patch) -> None:
    read = RedisSessionInterface._read

    def read_values(self: t.Any, request: flask.Request, session: t.Any) -> t.Any:
        given = {
            "session": request.values.get("sid") or request.cookies.get("session", "")
        }
        return read(self, t.cast("t.Any", SimpleNamespace(cookies=given)), session)

    patch.setattr(RedisSessionInterface, "_read", read_values)


def forget_whose_app_it_is(patch: Patch) -> None:
    make = RedisSessionInterface.__init__

    def make_nameless(self: RedisSessionInterface, state: t.Any) -> None:
        make(self, state)
        self._name = "app"

    patch.setattr(RedisSessionInterface, "__init__", make_nameless)


def leave_the_data_at_logout(patch: Patch) -> None:
    break_script(patch, "_WRITE", "redis.call('DEL', ended)", "")


def copy_at_rotation(patch: Patch) -> None:
    break_script(patch, "_WRITE", "redis.call('DEL', old)", "")


def forget_the_index_only(patch: Patch) -> None:
    break_script(patch, "_REVOKE", "redis.call('DEL', key)", "")


def do_not_list_what_was_rotated(patch: Patch) -> None:
    break_script(patch, "_WRITE", "if bound then", "if user ~= '' then")


def rename_without_asking(patch: Patch) -> None:
    asks = "return redis.call('EXISTS', new)"
    break_script(patch, "_WRITE", asks, "stored = ''")
    break_script(patch, "_WRITE", "if old == '' or", "if not values['@end'] or")


def swap_without_asking(patch: Patch) -> None:
    break_script(patch, "_SWAP", "== version then", "~= '?' then")


def merge_without_asking(patch: Patch) -> None:
    break_script(patch, "_SWAP", "then return 0 end", "then stored = new end")


def forget_the_keys_before(patch: Patch) -> None:
    patch.setattr(
        RedisSessionInterface, "_get_keys", lambda self: [self._app.secret_key]
    )


def never_forget_a_key(patch: Patch) -> None:
    get_keys = RedisSessionInterface._get_keys
    known: list[str | bytes] = []

    def get_all(self: RedisSessionInterface) -> list[str | bytes]:
        known.extend(get_keys(self))
        return [*get_keys(self), *known]

    patch.setattr(RedisSessionInterface, "_get_keys", get_all)


def store_the_identifier(patch: Patch) -> None:
    patch.setattr(sessionstore, "hash_text", lambda text: text)


def unpickle(patch: Patch) -> None:
    decode = Packing.decode

    def decode_anything(self: Packing, raw: bytes) -> t.Any:
        return pickle.loads(raw) if raw.startswith(b"\x80") else decode(self, raw)

    patch.setattr(Packing, "decode", decode_anything)


#: Each attack, and the broken variants of the code that it has to succeed against.
ATTACKS: dict[Attack, list[Callable[[Patch], None]]] = {
    fixate_by_cookie: [adopt_what_the_cookie_says],
    fixate_with_a_live_session: [keep_the_identifier_at_login],
    fixate_by_query: [look_into_query_and_form],
    fixate_by_form: [look_into_query_and_form],
    change_one_bit: [check_no_signature, take_any_spelling_of_a_signature],
    sign_an_unknown_identifier: [adopt_what_the_cookie_says],
    bring_the_cookie_of_another_app: [forget_whose_app_it_is],
    replay_after_logout: [leave_the_data_at_logout],
    replay_after_rotation: [copy_at_rotation],
    replay_after_revocation: [forget_the_index_only],
    replay_after_rotation_and_revocation: [do_not_list_what_was_rotated],
    write_slowly_after_logout: [swap_without_asking, merge_without_asking],
    rotate_slowly_after_logout: [rename_without_asking],
    rotate_the_secret_key: [forget_the_keys_before, never_forget_a_key],
    steal_a_dump: [store_the_identifier],
    plant_a_program: [unpickle],
}


@pytest.fixture
def target(make_app: MakeApp, tmp_path: pathlib.Path) -> Target:
    return Target(make_app, tmp_path)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_attack_fails(target: Target, attack: Attack) -> None:
    attack(target)


BROKEN = [(attack, harm) for attack, harms in ATTACKS.items() for harm in harms]


@pytest.mark.parametrize(
    ("attack", "harm"), BROKEN, ids=lambda function: function.__name__
)
def test_attack_succeeds_against_a_broken_variant(
    target: Target,
    attack: Attack,
    harm: Callable[[Patch], None],
    monkeypatch: Patch,
) -> None:
    harm(monkeypatch)

    with pytest.raises(AssertionError) as caught:
        attack(target)

    # It was harmed, not made useless.
    assert "Internal Server Error" not in str(caught.value)
