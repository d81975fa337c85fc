"""What works, and what is said, where Flask alone is installed.

With all the extras installed these tests hide them, so that they say the same.
"""

import importlib.abc
import importlib.machinery
import pathlib
import sys
import types
import typing as t
from collections.abc import Iterator, Sequence

import flask
import pytest

import quorum
from quorum.cli import group
from quorum.extras import EXTRAS
from quorum.loading import SERVICES
from quorum.state import get_handle


class Hide(importlib.abc.MetaPathFinder):
    """Lets no library of an extra be imported."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


@pytest.fixture(autouse=True)
def hidden(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    hide = Hide()
    for name in list(sys.modules):
        own = name.startswith("quorum.engines.") or name == "quorum.models"
        if name.partition(".")[0] in EXTRAS or own:
            monkeypatch.delitem(sys.modules, name)
    for name in quorum._LATE:
        if name in vars(quorum):
            monkeypatch.delitem(vars(quorum), name)
    monkeypatch.setattr(sys, "meta_path", [hide, *sys.meta_path])
    yield
    for name in list(sys.modules):
        if name.startswith("quorum.engines."):
            del sys.modules[name]


def test_load_conf_log_and_unload_work(capfd: pytest.CaptureFixture[str]) -> None:
    app = quorum.load(name="shop", PORT="8080", secret_key="key")
    app.add_url_rule("/", view_func=lambda: str(quorum.conf("PORT")))

    quorum.warning("hello")

    assert app.test_client().get("/").text == "8080"
    quorum.unload()
    assert quorum.APP is None


def test_run_works(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    app = quorum.load(PORT=5050)
    monkeypatch.setattr(app, "run", lambda *args, **kwargs: calls.append(args))

    quorum.run()

    assert calls == [("127.0.0.1", 5050)]


CALLS: list[tuple[str, dict[str, t.Any], str]] = [
    ("get_redis", {"REDISTOGO_URL": "redis://localhost"}, "redis"),
    ("get_redis", {"REDISTOGO_URL": "memory:"}, "embedded"),
    ("get_mongo", {"MONGOHQ_URL": "mongodb://localhost"}, "mongodb"),
    ("get_mongo", {"MONGOHQ_URL": "memory:"}, "embedded"),
    ("get_mongo_db", {"MONGOHQ_URL": "mongodb://localhost/x"}, "mongodb"),
    ("get_amqp", {"CLOUDAMQP_URL": "amqp://localhost"}, "amqp"),
    ("get_amazon", {"AMAZON_BUCKET": "bucket"}, "amazon"),
]


@pytest.mark.parametrize(("function", "variables", "extra"), CALLS)
def test_a_service_names_the_extra_it_needs(
    function: str, variables: dict[str, t.Any], extra: str
) -> None:
    quorum.load(**variables)

    with pytest.raises(quorum.MissingDependencyError) as caught:
        getattr(quorum, function)()

    assert caught.value.extra == extra
    assert f"pip install 'quorum-flask[{extra}]'" in str(caught.value)


@pytest.mark.parametrize("name", ["Id", "Model", "field", "where"])
def test_model_classes_name_the_extra_they_need(name: str) -> None:
    with pytest.raises(quorum.MissingDependencyError, match=r"quorum-flask\[mongodb\]"):
        getattr(quorum, name)


def test_object_ids_name_the_extra_they_need() -> None:
    with pytest.raises(quorum.MissingDependencyError, match=r"quorum-flask\[mongodb\]"):
        quorum.object_id("0" * 24)


@pytest.mark.parametrize("service", SERVICES[:-1], ids=lambda service: service.name)
def test_a_service_without_a_variable_names_it(service: t.Any) -> None:
    quorum.load()

    with pytest.raises(quorum.SettingMissingError) as caught:
        _ = get_handle(service).engine

    assert caught.value.name == service.settings.location.name


def test_background_work_needs_no_variable_and_no_extra() -> None:
    quorum.load()

    assert quorum.run_background(max, [1, 2]).result(30) == 2


def test_mail_needs_no_extra() -> None:
    quorum.load(SMTP_HOST="localhost")

    assert get_handle(SERVICES[0]).engine.address == "localhost:25"


def test_check_names_the_extras() -> None:
    app = quorum.load(REDISTOGO_URL="redis://localhost")

    result = app.test_cli_runner().invoke(group, ["check"])

    assert result.exit_code == 1
    assert "pip install 'quorum-flask[redis]'" in result.output


def test_waitress_names_its_extra() -> None:
    quorum.load()

    with pytest.raises(quorum.MissingDependencyError, match=r"quorum-flask\[server\]"):
        quorum.run("waitress")


def test_a_dotenv_file_names_its_extra(tmp_path: pathlib.Path) -> None:
    (tmp_path / ".env").write_text("PORT=8080\n")
    app = flask.Flask("shop", root_path=str(tmp_path))

    with pytest.raises(quorum.MissingDependencyError, match=r"quorum-flask\[dotenv\]"):
        quorum.load(app)

    assert quorum.APP is None
