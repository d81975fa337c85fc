"""The Redis client of an app, and what is said about values that it takes."""

import json
import pathlib
from concurrent.futures import ThreadPoolExecutor

import flask
import pytest

import quorum
from quorum.redisdb import SERVICE
from quorum.state import get_handle
from tests.conftest import MakeApp


def test_json_text_of_a_value_can_be_kept_and_read(make_app: MakeApp) -> None:
    make_app(REDISTOGO_URL="memory:")

    quorum.get_redis().set("cart", quorum.dumps_redis({"é": [1, None]}))

    assert json.loads(quorum.get_redis().get("cart") or "") == {"é": [1, None]}


def test_value_that_json_has_no_text_for_is_an_error() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        quorum.dumps_redis(object())


def test_redis_without_a_url_is_an_error_and_writes_no_file(
    make_app: MakeApp, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_app()

    with pytest.raises(quorum.SettingMissingError, match=r"^REDISTOGO_URL .*memory:"):
        quorum.get_redis()

    assert list(tmp_path.iterdir()) == []


def test_threads_share_one_client(make_app: MakeApp) -> None:
    make_app(REDISTOGO_URL="memory:")

    with ThreadPoolExecutor(8) as pool:
        clients = list(pool.map(lambda _: quorum.get_redis(), range(64)))

    assert len({id(client) for client in clients}) == 1


def test_apps_have_clients_of_their_own() -> None:
    apps = [
        quorum.load(flask.Flask(name), REDISTOGO_URL="memory:") for name in ("a", "b")
    ]
    for app in apps:
        with app.app_context():
            quorum.get_redis().set("name", app.name)

    for app in apps:
        with app.app_context():
            assert quorum.get_redis().get("name") == app.name.encode()


def test_a_unix_socket_is_named_by_its_path_alone(make_app: MakeApp) -> None:
    make_app(REDISTOGO_URL="unix://:sesame@/run/none/socket?db=0")

    with pytest.raises(quorum.ServiceUnavailableError) as caught:
        get_handle(SERVICE).engine.ping()

    assert get_handle(SERVICE).engine.address == "/run/none/socket"
    assert (caught.value.host, caught.value.port) == ("/run/none/socket", 0)
    assert "sesame" not in str(caught.value)
