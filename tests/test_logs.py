import io
import json
import logging
import logging.handlers
import pathlib
import re
import sys
import typing as t

import flask
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quorum
from quorum.logs import JSONFormatter, Redactor, TextFormatter
from tests.conftest import MakeApp

LOGGER = logging.getLogger("quorum")


def bare_stderr(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Stand for a program that has set up no logging; pytest itself always has."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(logging.root, "handlers", [])
    return stream


@pytest.fixture
def log_app(make_app: MakeApp, tmp_path: pathlib.Path) -> flask.Flask:
    return make_app(logger="shop", LOG_FOLDER=str(tmp_path), LEVEL="INFO")


def _lines(folder: pathlib.Path, name: str = "shop.log") -> list[str]:
    return (folder / name).read_text().splitlines()


def test_records_before_a_load_go_where_python_sends_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    quorum.warning("early %s", "bird")

    assert "early bird" in caplog.text


def test_get_log_is_the_logger_named_quorum() -> None:
    assert quorum.get_log() is LOGGER


@pytest.mark.parametrize("name", ["debug", "info", "warning", "error", "critical"])
def test_each_function_logs_at_its_level_from_its_caller(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    quorum.load(LEVEL="DEBUG")

    getattr(quorum, name)("said %s", name, extra={"order": 17})

    (record,) = caplog.records
    assert record.levelname == name.upper()
    assert record.getMessage() == f"said {name}"
    assert record.funcName == sys._getframe().f_code.co_name
    assert vars(record)["order"] == 17


def test_records_go_to_the_standard_error_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stderr = bare_stderr(monkeypatch)
    quorum.load()

    quorum.warning("hello")

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING \[-\] quorum: hello\n",
        stderr.getvalue(),
    )


def test_a_program_that_set_up_logging_gets_each_record_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stderr = bare_stderr(monkeypatch)
    quorum.load()
    handler = logging.StreamHandler(stderr)
    monkeypatch.setattr(logging.root, "handlers", [handler])

    quorum.warning("hello")

    assert stderr.getvalue() == "hello\n"


def test_two_apps_write_a_record_that_is_nobodys_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stderr = bare_stderr(monkeypatch)
    quorum.load(name="one")
    quorum.load(name="two")

    quorum.warning("hello")

    assert stderr.getvalue().count("hello") == 1


def test_the_level_decides_what_is_kept(
    log_app: flask.Flask, tmp_path: pathlib.Path
) -> None:
    quorum.debug("too small")
    quorum.info("just right")

    (line,) = _lines(tmp_path)
    assert line.endswith("INFO [-] quorum: just right")


def test_the_level_is_warning_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = bare_stderr(monkeypatch)
    quorum.load()

    quorum.info("quiet")
    quorum.warning("loud")

    assert "quiet" not in stderr.getvalue()
    assert "loud" in stderr.getvalue()


def test_each_app_has_a_level_and_a_file_of_its_own(
    make_app: MakeApp, tmp_path: pathlib.Path
) -> None:
    folder = str(tmp_path)
    one = make_app("one", logger="one", LEVEL="DEBUG", LOG_FOLDER=folder)
    two = make_app("two", logger="two", LEVEL="ERROR", LOG_FOLDER=folder)

    with one.app_context():
        quorum.debug("of one")
    with two.app_context():
        quorum.warning("too small for two")
        quorum.error("of two")
    quorum.critical("of nobody")

    assert [line.partition(": ")[2] for line in _lines(tmp_path, "one.log")] == [
        "of one",
        "of nobody",
    ]
    assert [line.partition(": ")[2] for line in _lines(tmp_path, "two.log")] == [
        "of two",
        "of nobody",
    ]


def test_the_file_is_named_by_logger_and_keeps_what_it_had(
    make_app: MakeApp, tmp_path: pathlib.Path
) -> None:
    for _ in range(2):
        make_app(logger="shop.log", LOG_FOLDER=str(tmp_path))
        quorum.warning("hello")
        quorum.unload()

    assert len(_lines(tmp_path)) == 2


def test_the_folder_is_the_working_directory_by_default(
    make_app: MakeApp, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    make_app(logger="shop")

    assert (tmp_path / "shop.log").is_file()


def test_a_file_that_was_moved_away_is_made_anew(
    log_app: flask.Flask, tmp_path: pathlib.Path
) -> None:
    quorum.warning("before")
    (tmp_path / "shop.log").rename(tmp_path / "shop.log.1")

    quorum.warning("after")

    assert [len(_lines(tmp_path, name)) for name in ("shop.log", "shop.log.1")] == [
        1,
        1,
    ]


@pytest.mark.parametrize("name", ["", ".", "..", "../shop", "a/b", "a\\b", "a\0b"])
def test_a_log_name_that_is_no_file_name_is_refused(
    make_app: MakeApp, tmp_path: pathlib.Path, name: str
) -> None:
    with pytest.raises(quorum.ConfigError, match="no plain file name"):
        make_app(logger=name, LOG_FOLDER=str(tmp_path))

    assert list(tmp_path.iterdir()) == []


def test_a_log_file_that_cannot_be_opened_is_an_error(
    make_app: MakeApp, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(quorum.ConfigError) as caught:
        make_app(logger="shop", LOG_FOLDER=str(tmp_path / "missing"))

    assert "LOG_FOLDER" in str(caught.value)
    assert "missing/shop.log' cannot be opened: No such file" in str(caught.value)


def test_every_record_of_a_request_has_its_identifier(
    log_app: flask.Flask, tmp_path: pathlib.Path
) -> None:
    @log_app.route("/")
    def index() -> str:
        quorum.info("one")
        logging.getLogger("quorum.shop").warning("two")
        return str(quorum.get_request_id())

    first = log_app.test_client().get("/").text
    second = log_app.test_client().get("/").text

    found = [re.findall(r"\[(.*?)\] ", line) for line in _lines(tmp_path)]
    assert found == [[first], [first], [second], [second]]
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first != second


@pytest.mark.parametrize("given", ["abc-123", "A.b_c~d+e/f=g:h", "x" * 128])
def test_a_well_formed_identifier_is_taken_from_the_request(
    log_app: flask.Flask, given: str
) -> None:
    log_app.add_url_rule("/", view_func=lambda: quorum.get_request_id() or "")

    answer = log_app.test_client().get("/", headers={"X-Request-ID": given})

    assert answer.text == given


@pytest.mark.parametrize(
    "given", ["", "a b", "x" * 129, "ä", "a]b", 'a"b', "a%0Ab", "a;b", "{a}"]
)
def test_an_ill_formed_identifier_is_replaced(log_app: flask.Flask, given: str) -> None:
    log_app.add_url_rule("/", view_func=lambda: quorum.get_request_id() or "")

    answer = log_app.test_client().get("/", headers={"X-Request-ID": given})

    assert re.fullmatch("[0-9a-f]{32}", answer.text)


def test_a_line_break_in_an_identifier_does_not_count_as_well_formed(
    log_app: flask.Flask,
) -> None:
    with log_app.test_request_context(environ_base={"HTTP_X_REQUEST_ID": "abc\n"}):
        assert "\n" not in str(quorum.get_request_id())


def test_there_is_no_identifier_outside_a_request() -> None:
    assert quorum.get_request_id() is None


def test_json_records_are_objects_of_one_line(
    make_app: MakeApp, tmp_path: pathlib.Path
) -> None:
    make_app(logger="shop", LOG_FOLDER=str(tmp_path), LOG_FORMAT="json")

    try:
        raise KeyError("lost")
    except KeyError:
        quorum.error(
            "two\nlines", exc_info=True, extra={"order": 17, "who": {"a": ["ä", 1.5]}}
        )

    (line,) = _lines(tmp_path)
    found = json.loads(line)
    assert list(found) == [
        *("order", "who", "time", "level", "logger", "request_id"),
        *("message", "exception"),
    ]
    assert (found["order"], found["who"]) == (17, {"a": ["ä", 1.5]})
    assert (found["level"], found["logger"]) == ("ERROR", "quorum")
    assert found["message"] == "two\nlines"
    assert "KeyError: 'lost'" in found["exception"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]{12}\+00:00", found["time"])


def test_extras_cannot_stand_in_for_what_a_record_says(
    make_app: MakeApp, tmp_path: pathlib.Path
) -> None:
    make_app(logger="shop", LOG_FOLDER=str(tmp_path), LOG_FORMAT="json")

    quorum.error("hello", extra={"level": "DEBUG", "time": "never"})

    (line,) = _lines(tmp_path)
    assert json.loads(line)["level"] == "ERROR"
    assert json.loads(line)["time"] != "never"


def test_json_has_the_stack_that_was_asked_for(
    make_app: MakeApp, tmp_path: pathlib.Path
) -> None:
    make_app(logger="shop", LOG_FOLDER=str(tmp_path), LOG_FORMAT="json")

    quorum.error("here", stack_info=True)

    (line,) = _lines(tmp_path)
    assert "test_json_has_the_stack_that_was_asked_for" in json.loads(line)["stack"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"\xff", {1}])
def test_extras_that_json_does_not_know_become_text(
    make_app: MakeApp, tmp_path: pathlib.Path, value: object
) -> None:
    make_app(logger="shop", LOG_FOLDER=str(tmp_path), LOG_FORMAT="json")

    quorum.error("hello", extra={"value": value})

    (line,) = _lines(tmp_path)
    assert json.loads(line)["value"] == str(value)


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_masked_in_messages_tracebacks_and_extras(
    make_app: MakeApp, tmp_path: pathlib.Path, form: str
) -> None:
    make_app(
        logger="shop",
        LOG_FOLDER=str(tmp_path),
        LOG_FORMAT=form,
        SMTP_PASSWORD="smtp-sesame",
        REDIS_URL="redis://:redis%2Dsesame@localhost/0",
    )

    try:
        raise ValueError("smtp-sesame and http://ann:other-sesame@example.org/")
    except ValueError:
        quorum.error(
            "sent redis-sesame, redis%%2Dsesame, %s",
            "amqp://user:p@ss-sesame@host",
            exc_info=True,
            extra={"url": "smtp://x:third-sesame@y"},
        )

    written = (tmp_path / "shop.log").read_text()
    assert "sesame" not in written
    assert "amqp://user:***@host" in written
    assert "http://ann:***@example.org/" in written


def test_short_secrets_do_not_make_a_log_unreadable() -> None:
    redact = Redactor(["abc", "abcdef"])

    assert redact("abc abcdef abcdefg") == "abc *** ***g"


def test_urls_without_a_password_stay_as_they_are() -> None:
    text = "http://localhost:5000/a@b and http://ann@example.org, a:b@c"

    assert Redactor([])(text) == text


@given(secret=st.text(min_size=6), before=st.text(), after=st.text())
def test_a_masked_text_has_no_secret(secret: str, before: str, after: str) -> None:
    masked = Redactor([secret])(f"{before}{secret}{after}")

    assert secret not in masked.replace("***", "\0") or "***" in secret


@given(
    st.dictionaries(
        st.text(min_size=1),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=10,
        ),
    ),
    st.text(),
)
def test_any_record_is_one_line_of_json(extras: dict[str, t.Any], text: str) -> None:
    record = logging.makeLogRecord({"msg": text, "args": (), "levelno": 30})
    vars(record).update({f"x_{name}": value for name, value in extras.items()})

    line = JSONFormatter(Redactor([])).format(record)

    assert len(line.splitlines()) == 1 or "\u2028" in line or "\x85" in line
    assert "\n" not in line
    assert json.loads(line)["message"] == Redactor([])(text)


def test_a_text_record_outside_an_app_needs_nothing() -> None:
    record = logging.makeLogRecord({"msg": "hello", "request_id": "-"})

    assert TextFormatter(Redactor([])).format(record).endswith(": hello")


def test_other_loggers_are_left_alone(make_app: MakeApp) -> None:
    def count() -> dict[str, tuple[int, int, bool]]:
        known: dict[str, t.Any] = {"": logging.root, **logging.root.manager.loggerDict}
        return {
            name: (item.level, len(item.handlers), item.propagate)
            for name, item in known.items()
            if isinstance(item, logging.Logger) and name != "quorum"
        }

    before = count()

    make_app(LEVEL="DEBUG")

    assert count() == before


def test_the_logger_is_as_before_after_the_unload(
    make_app: MakeApp, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = logging.NullHandler()
    monkeypatch.setattr(LOGGER, "handlers", [own])
    LOGGER.setLevel(logging.ERROR)
    folder = str(tmp_path)

    one = make_app("one", LEVEL="DEBUG", logger="one", LOG_FOLDER=folder)
    two = make_app("two", LEVEL="INFO", logger="two", LOG_FOLDER=folder)
    both = LOGGER.level
    quorum.unload(app=one)
    rest = LOGGER.level
    quorum.unload(app=two)

    assert (both, rest, LOGGER.level) == (logging.DEBUG, logging.INFO, logging.ERROR)
    assert LOGGER.handlers == [own]
    assert LOGGER.propagate is True
    LOGGER.setLevel(logging.NOTSET)


def test_the_log_file_is_closed_by_the_unload(
    log_app: flask.Flask, tmp_path: pathlib.Path
) -> None:
    (handler,) = LOGGER.handlers
    assert isinstance(handler, logging.handlers.WatchedFileHandler)
    assert handler.stream is not None

    quorum.unload()

    assert handler.stream is None


def test_a_record_that_cannot_be_written_ends_nothing_and_is_told_of(
    log_app: flask.Flask, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quorum.warning("first")
    gone = tmp_path.with_name("gone")
    tmp_path.rename(gone)

    quorum.warning("the password is %s", "sesame")
    told = capsys.readouterr().err
    gone.rename(tmp_path)
    quorum.warning("last")

    assert [line.split()[-1] for line in _lines(tmp_path)] == ["first", "last"]
    assert re.fullmatch(
        r"A record of quorum \(\S+test_logs\.py:\d+\) cannot be logged: "
        r"FileNotFoundError: .*\n",
        told,
    )


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("logger", ["shop", None])
def test_a_record_that_is_wrong_does_not_show_its_arguments(
    make_app: MakeApp,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    logger: str | None,
) -> None:
    stderr = bare_stderr(monkeypatch)
    make_app(logger=logger, LOG_FOLDER=str(tmp_path), LOG_FORMAT=form)

    class Odd:
        def __str__(self) -> str:
            raise ValueError("redis://:sesame@localhost")

    quorum.warning("order %d", "redis://:sesame@localhost")
    quorum.warning("order %s", Odd())

    told = stderr.getvalue()
    assert told.count("cannot be logged") == 2
    assert "ValueError: redis://:***@localhost" in told
    assert "sesame" not in told


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_is_no_character_is_written_as_python_shows_it(
    make_app: MakeApp, tmp_path: pathlib.Path, form: str
) -> None:
    make_app(logger="shop", LOG_FOLDER=str(tmp_path), LOG_FORMAT=form)

    quorum.warning("order %s", "\ud800")

    (line,) = _lines(tmp_path)
    assert r"order \ud800" in line
    assert form == "text" or json.loads(line)["message"] == "order \ud800"


def test_python_can_be_told_to_say_nothing_of_wrong_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stderr = bare_stderr(monkeypatch)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    quorum.load()

    quorum.warning("order %d", "seventeen")

    assert stderr.getvalue() == ""
