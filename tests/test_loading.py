import gc
import logging
import pathlib
import subprocess
import sys
import threading
import typing as t
import weakref

import flask
import pytest
from flask.sessions import SessionInterface

import quorum
from quorum.loading import load as the_load
from quorum.state import KEY
from tests.conftest import MakeApp


def test_load_without_an_app_makes_one_named_after_the_caller() -> None:
    app = quorum.load()

    assert type(app) is flask.Flask
    assert app.import_name == __name__


def test_the_name_is_the_import_name_of_a_new_app() -> None:
    app = quorum.load(name="shop")

    assert app.name == "shop"


def test_the_name_defaults_to_main_where_there_is_no_module() -> None:
    space: dict[str, t.Any] = {"load": the_load}

    exec("app = load()", space)

    assert space["app"].import_name == "__main__"


def test_load_works_on_the_command_line() -> None:
    code = "import quorum; print(quorum.load().name, quorum.APP.debug)"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout == "__main__ False\n"


def test_a_passed_app_is_returned() -> None:
    app = flask.Flask("shop")

    assert quorum.load(app) is app


def test_every_parameter_may_be_passed_by_position() -> None:
    app = flask.Flask("shop")

    quorum.load(app, "corner", "key", False, False, "people", None, pathlib)

    state = app.extensions[KEY]
    assert (state.name, app.secret_key) == ("corner", "key")
    assert (state.execution, state.mongo_database) == (False, "people")
    assert state.models is pathlib


def test_app_is_the_app_itself() -> None:
    assert quorum.APP is None

    app = quorum.load(name="shop")

    assert quorum.APP is app


def test_app_is_none_in_the_context_of_an_app_that_is_not_loaded() -> None:
    quorum.load(name="shop")

    with flask.Flask("other").app_context():
        assert quorum.APP is None
        with pytest.raises(quorum.NotLoadedError, match="'other'"):
            quorum.conf("PORT")


def test_functions_before_a_load_say_what_to_do() -> None:
    with pytest.raises(quorum.NotLoadedError, match=r"Call quorum\.load\(\) first"):
        quorum.conf("PORT")


def test_two_apps_have_separate_states() -> None:
    one = quorum.load(name="one", PORT=1)
    two = quorum.load(name="two", PORT=2)

    with one.app_context():
        assert (quorum.conf("PORT"), quorum.APP) == (1, one)
    with two.app_context():
        assert (quorum.conf("PORT"), quorum.APP) == (2, two)


def test_two_apps_and_no_context_are_ambiguous() -> None:
    quorum.load(name="one")
    quorum.load(name="two")

    with pytest.raises(quorum.AppAmbiguousError, match="'one', 'two'"):
        quorum.conf("PORT")
    with pytest.raises(quorum.AppAmbiguousError):
        _ = quorum.APP
    with pytest.raises(quorum.AppAmbiguousError):
        quorum.unload()


def test_one_of_two_apps_remains_when_the_other_is_unloaded() -> None:
    one = quorum.load(name="one")
    two = quorum.load(name="two")

    quorum.unload(app=one)

    assert quorum.APP is two


def test_a_nested_context_means_the_inner_app() -> None:
    one, two = quorum.load(name="one", PORT=1), quorum.load(name="two", PORT=2)

    with one.app_context():
        with two.app_context():
            inner = quorum.conf("PORT")
        outer = quorum.conf("PORT")

    assert (inner, outer) == (2, 1)


def test_loading_an_app_twice_is_refused() -> None:
    app = quorum.load(name="shop", PORT=1)

    with pytest.raises(quorum.LoadError, match=r"'shop' is loaded already"):
        quorum.load(app, PORT=2)

    assert quorum.conf("PORT") == 1


def test_loading_an_app_that_has_served_is_refused() -> None:
    app = flask.Flask("shop")
    app.test_client().get("/")

    with pytest.raises(quorum.LoadError, match="served a request"):
        quorum.load(app)

    assert KEY not in app.extensions


def test_an_app_can_be_loaded_again_after_it_was_unloaded() -> None:
    app = quorum.load(name="shop", PORT=1)
    quorum.unload()

    quorum.load(app, PORT=2)

    assert quorum.conf("PORT") == 2


@pytest.mark.parametrize(
    ("argument", "value", "wanted"),
    [
        ("app", "shop", "Flask"),
        ("name", 5, "str"),
        ("mongo_database", 5, "str"),
        ("logger", True, "str"),
        ("models", "models", "module"),
    ],
)
def test_an_argument_of_the_wrong_type_is_named(
    argument: str, value: t.Any, wanted: str
) -> None:
    with pytest.raises(quorum.LoadError, match=rf"{argument}=….*{wanted}"):
        quorum.load(**{argument: value})


def test_secret_key_is_set_by_its_parameter() -> None:
    assert quorum.load(secret_key="key").secret_key == "key"


def test_secret_key_may_be_bytes() -> None:
    assert quorum.load(secret_key=b"\xff\x00").secret_key == b"\xff\x00"


def test_secret_key_of_the_app_stays_when_none_is_given() -> None:
    app = flask.Flask("shop")
    app.secret_key = "own"

    quorum.load(app)

    assert app.secret_key == "own"


def test_secret_key_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET_KEY", "outside")

    assert quorum.load().secret_key == "outside"


def test_two_secret_keys_in_one_call_are_refused() -> None:
    with pytest.raises(quorum.ConfigError) as caught:
        quorum.load(secret_key="one-key", SECRET_KEY="two-key")

    assert "SECRET_KEY" in str(caught.value)
    assert "one-key" not in str(caught.value)


def test_keywords_may_be_settings_of_flask() -> None:
    app = quorum.load(TESTING=True, MAX_CONTENT_LENGTH=1000)

    assert app.testing is True
    assert app.config["MAX_CONTENT_LENGTH"] == 1000


def test_only_flasks_own_settings_reach_the_app_config(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TESTING", "0")
    plain = set(flask.Flask("plain").config)

    app = quorum.load(PORT=1, SMTP_PASSWORD="hidden-word")

    assert set(app.config) == plain
    assert app.testing is False


def test_the_test_client_and_url_for_work_as_in_plain_flask() -> None:
    app = quorum.load(name="shop", SERVER_NAME="example.org")
    app.add_url_rule("/", "index", lambda: "hello")

    with app.app_context():
        url = flask.url_for("index")

    assert app.test_client().get("/").text == "hello"
    assert url == "http://example.org/"


@pytest.mark.parametrize("value", ["1", True])
def test_debug_sets_the_apps_debug_mode(value: object) -> None:
    assert quorum.load(DEBUG=value).debug is True


def test_debug_off_is_off() -> None:
    assert quorum.load(DEBUG="0").debug is False


def test_debug_mode_of_the_app_itself_is_left_alone() -> None:
    app = flask.Flask("shop")
    app.debug = True

    quorum.load(app)

    assert app.debug is True
    assert quorum.conf("DEBUG") is True


ESCAPED = [
    f"page{ending}{tpl}"
    for ending in (".html", ".htm", ".xml", ".xhtml", ".svg", ".HTML")
    for tpl in ("", ".tpl")
]


def _render(app: flask.Flask, folder: pathlib.Path, name: str) -> str:
    (folder / "templates").mkdir(exist_ok=True)
    (folder / "templates" / name).write_text("{{ value }}")
    with app.app_context():
        return flask.render_template(name, value="<script>")


@pytest.mark.parametrize("name", ESCAPED)
def test_templates_are_escaped(
    make_app: MakeApp, tmp_path: pathlib.Path, name: str
) -> None:
    assert _render(make_app(), tmp_path, name) == "&lt;script&gt;"


@pytest.mark.parametrize("name", ["page.txt", "page.txt.tpl", "page.tpl", "html"])
def test_other_templates_are_not_escaped(
    make_app: MakeApp, tmp_path: pathlib.Path, name: str
) -> None:
    assert _render(make_app(), tmp_path, name) == "<script>"


def test_templates_from_strings_are_escaped_as_in_plain_flask(
    make_app: MakeApp,
) -> None:
    with make_app().app_context():
        assert flask.render_template_string("{{ '<' }}") == "&lt;"


def test_an_app_whose_jinja_environment_exists_already_escapes_too(
    tmp_path: pathlib.Path,
) -> None:
    app = flask.Flask("shop", root_path=str(tmp_path))
    before = _render(app, tmp_path, "page.html.tpl")

    quorum.load(app)
    loaded = _render(app, tmp_path, "page.html.tpl")
    quorum.unload()
    after = _render(app, tmp_path, "page.html.tpl")

    assert (before, loaded, after) == ("<script>", "&lt;script&gt;", "<script>")


def test_escaping_ends_with_the_unload(
    make_app: MakeApp, tmp_path: pathlib.Path
) -> None:
    app = make_app()
    loaded = _render(app, tmp_path, "page.html.tpl")

    quorum.unload()
    after = _render(app, tmp_path, "page.html.tpl")

    assert (loaded, after) == ("&lt;script&gt;", "<script>")


def test_an_apps_own_choice_to_escape_more_counts(tmp_path: pathlib.Path) -> None:
    class Careful(flask.Flask):
        def select_jinja_autoescape(self, filename: str | None) -> bool:
            return True

    app = quorum.load(Careful("shop", root_path=str(tmp_path)))

    assert _render(app, tmp_path, "page.txt") == "&lt;script&gt;"


def _everything(app: flask.Flask) -> dict[str, object]:
    """Return what a load may change in an app, to be compared."""
    return {
        "config": dict(app.config),
        "extensions": dict(app.extensions),
        "vars": sorted(vars(app)),
        "session_interface": app.session_interface,
        "autoescape": app.select_jinja_autoescape,
        "before": dict(app.before_request_funcs),
        "after": dict(app.after_request_funcs),
        "teardown": list(app.teardown_appcontext_funcs),
    }


def test_unload_leaves_the_app_as_it_was() -> None:
    app = flask.Flask("shop")
    app.session_interface = SessionInterface()
    app.extensions["other"] = object()
    before = _everything(app)

    quorum.load(
        app,
        secret_key="key",
        redis_session=True,
        REDISTOGO_URL="memory:",
        DEBUG=True,
        TESTING=True,
    )
    quorum.unload()

    assert _everything(app) == before


@pytest.mark.parametrize(
    "keywords",
    [
        {"PORT": "none"},
        {"NO_SUCH_NAME": 1},
        {"logger": "no/name"},
        {"logger": "shop", "LOG_FOLDER": "/no/such/folder"},
    ],
)
def test_a_failed_load_leaves_the_app_as_it_was(keywords: dict[str, t.Any]) -> None:
    app = flask.Flask("shop")
    before = _everything(app)
    handlers = list(logging.getLogger("quorum").handlers)

    with pytest.raises(quorum.ConfigError):
        quorum.load(app, secret_key="key", DEBUG=True, TESTING=True, **keywords)

    assert _everything(app) == before
    assert logging.getLogger("quorum").handlers == handlers
    assert quorum.APP is None


def test_an_error_in_the_last_step_undoes_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = flask.Flask("shop")
    before = _everything(app)
    monkeypatch.setattr(
        "quorum.loading.start_log", lambda *_: (_ for _ in ()).throw(OSError("full"))
    )

    with pytest.raises(OSError, match="full"):
        quorum.load(app, secret_key="key", DEBUG=True)

    assert _everything(app) == before


def test_unloading_twice_does_nothing() -> None:
    app = quorum.load(name="shop")

    quorum.unload()
    quorum.unload()
    quorum.unload(app=app)

    assert quorum.APP is None


def test_unloading_an_app_that_was_never_loaded_does_nothing() -> None:
    app = quorum.load(name="shop")

    quorum.unload(app=flask.Flask("other"))

    assert quorum.APP is app


def test_after_the_unload_functions_say_that_nothing_is_loaded() -> None:
    app = quorum.load(name="shop")
    quorum.unload()

    with pytest.raises(quorum.NotLoadedError):
        quorum.conf("PORT")
    with pytest.raises(quorum.NotLoadedError):
        quorum.get_redis()
    with app.app_context(), pytest.raises(quorum.NotLoadedError, match="'shop'"):
        quorum.run()


def test_an_unloaded_app_can_be_collected(tmp_path: pathlib.Path) -> None:
    app = quorum.load(name="shop", logger="shop", LOG_FOLDER=str(tmp_path))
    app.test_client().get("/")
    gone = weakref.ref(app)

    quorum.unload()
    del app
    gc.collect()

    assert gone() is None


def test_an_app_that_nobody_keeps_stays_loaded() -> None:
    quorum.load(name="shop", PORT=1)

    gc.collect()

    assert quorum.APP is not None
    assert quorum.conf("PORT") == 1


def test_500_cycles_leak_nothing(tmp_path: pathlib.Path) -> None:
    def cycle() -> None:
        app = quorum.load(
            name="shop", logger="shop", LOG_FOLDER=str(tmp_path), REDIS_URL="memory:"
        )
        quorum.get_redis().ping()
        quorum.unload(app=app)

    def count() -> tuple[int, int, int]:
        gc.collect()
        descriptors = len(list(pathlib.Path("/proc/self/fd").iterdir()))
        return len(gc.get_objects()), threading.active_count(), descriptors

    for _ in range(20):
        cycle()
    before = count()
    for _ in range(500):
        cycle()
    after = count()

    assert after[1:] == before[1:]
    assert after[0] - before[0] < 500  # not one object a cycle


def test_services_are_closed_by_the_unload() -> None:
    quorum.load(REDIS_URL="memory:", MONGO_URL="memory:shop")
    client = quorum.get_redis()
    mongo = quorum.get_mongo()
    client.set("kept", 1)
    quorum.unload()

    quorum.load(REDIS_URL="memory:", MONGO_URL="memory:shop")

    assert quorum.get_redis() is not client
    assert quorum.get_mongo() is not mongo
    assert quorum.get_redis().get("kept") is None


def test_threads_that_load_one_app_at_once_load_it_once() -> None:
    app = flask.Flask("shop")
    ready = threading.Barrier(8)
    errors: list[BaseException] = []

    def load_it() -> None:
        ready.wait()
        try:
            quorum.load(app)
        except quorum.LoadError as error:
            errors.append(error)

    threads = [threading.Thread(target=load_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(errors) == 7
    assert quorum.APP is app


def test_the_mongo_database_is_the_one_of_load() -> None:
    quorum.load(MONGO_URL="memory:", mongo_database="people")

    assert quorum.get_mongo_db().name == "people"


def test_the_mongo_database_of_the_url_wins() -> None:
    quorum.load(MONGO_URL="memory:shop", mongo_database="people")

    assert quorum.get_mongo_db().name == "shop"


def test_a_missing_mongo_database_names_both_places() -> None:
    quorum.load(MONGO_URL="memory:")

    with pytest.raises(quorum.SettingMissingError) as caught:
        quorum.get_mongo_db()

    assert "MONGOHQ_URL" in str(caught.value)
    assert "load(mongo_database=…)" in str(caught.value)
