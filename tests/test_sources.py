import errno
import itertools
import json
import logging
import os
import pathlib
import sys
import tempfile
import traceback
import typing as t
import urllib.parse

import flask
import flask.cli
import hypothesis
import pytest
from hypothesis import strategies as st

import quorum
from quorum import cli, config
from quorum.errors import Problem
from quorum.mail import MailSettings
from quorum.redisdb import RedisSettings

fuzzed = hypothesis.settings(max_examples=25, derandomize=True, deadline=None)

#: The sources that values come from, highest first.
ORDER = ("keyword", "app.config", "environment", ".env", "quorum.json")

every_pair = pytest.mark.parametrize(
    ("higher", "lower"), list(itertools.combinations(ORDER, 2))
)


class Shop:
    """An app that is about to be loaded, and the places its values come from."""

    def __init__(self, folder: pathlib.Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.patch = patch
        self.app = flask.Flask("shop", root_path=str(folder))
        self.keywords: dict[str, t.Any] = {}

    def put(self, source: str, **values: t.Any) -> None:
        """Give a source its values; a file has these only."""
        if source == "keyword":
            self.keywords.update(values)
        elif source == "app.config":
            self.app.config.update(values)
        elif source == "environment":
            for name, value in values.items():
                self.patch.setenv(name, value)
        elif source == ".env":
            lines = "".join(f"{name}={value}\n" for name, value in values.items())
            self.write(".env", lines)
        else:
            self.write("quorum.json", json.dumps(values))

    def write(self, name: str, content: str | bytes) -> None:
        raw = content.encode() if isinstance(content, str) else content
        (self.folder / name).write_bytes(raw)

    def load(self, **keywords: t.Any) -> flask.Flask:
        return quorum.load(self.app, **self.keywords, **keywords)

    def problems(self, **keywords: t.Any) -> tuple[Problem, ...]:
        """Return what is wrong, of a load that has to fail."""
        with pytest.raises(quorum.ConfigError) as caught:
            self.load(**keywords)
        return caught.value.problems

    def problem(self, **keywords: t.Any) -> Problem:
        (problem,) = self.problems(**keywords)
        return problem

    def source_of(self, name: str) -> str:
        """Return where the listing says that a value came from."""
        rows = self.run("config", "--json")
        sources = {row["name"]: str(row["source"]) for row in json.loads(rows)}
        return sources[name]

    def run(self, *arguments: str) -> str:
        result = self.app.test_cli_runner().invoke(cli.group, arguments)
        assert result.exit_code == 0, result.output
        return str(result.output)


@pytest.fixture
def shop(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    quorum.variable("SHOP_ITEMS", int, default=1, help="Number of items on a page.")
    quorum.variable("SHOP_PIN", int, default=None, secret=True, aliases=("SHOP_CODE",))
    quorum.variable("SHOP_TITLE", str, aliases=("SHOP_NAME",))
    return Shop(tmp_path, monkeypatch)


# The order of the sources.


@every_pair
def test_the_higher_source_wins(higher: str, lower: str, shop: Shop) -> None:
    shop.put(higher, SHOP_ITEMS="20")
    shop.put(lower, SHOP_ITEMS="30")

    shop.load()

    assert quorum.conf("SHOP_ITEMS") == 20
    assert shop.source_of("SHOP_ITEMS") == higher


@pytest.mark.parametrize("source", ORDER)
def test_every_source_is_above_the_default(source: str, shop: Shop) -> None:
    shop.put(source, SHOP_ITEMS="20")

    shop.load()

    assert quorum.conf("SHOP_ITEMS") == 20


@pytest.mark.parametrize(
    ("higher", "lower"), list(itertools.combinations(ORDER[1:], 2))
)
def test_the_order_is_the_same_for_names_that_nobody_declared(
    higher: str, lower: str, shop: Shop
) -> None:
    shop.put(higher, SHOP_COLOUR="red")
    shop.put(lower, SHOP_COLOUR="green")

    shop.load()

    assert quorum.conf("SHOP_COLOUR") == "red"


def test_the_default_counts_when_no_source_has_a_value(shop: Shop) -> None:
    shop.load()

    assert quorum.conf("SHOP_ITEMS") == 1
    assert shop.source_of("SHOP_ITEMS") == "default"
    assert shop.source_of("SHOP_TITLE") == "not set"


def test_a_bad_value_below_a_good_one_does_not_count(shop: Shop) -> None:
    shop.put("environment", SHOP_ITEMS="many")

    shop.load(SHOP_ITEMS=20)

    assert quorum.conf("SHOP_ITEMS") == 20


# What the app has set itself.


def test_a_value_that_the_app_has_set_is_parsed(shop: Shop) -> None:
    shop.app.config["SMTP_TIMEOUT"] = "2.5"

    shop.load()

    assert quorum.conf("SMTP_TIMEOUT") == 2.5


def test_a_bad_value_that_the_app_has_set_says_so(shop: Shop) -> None:
    shop.app.config["PORT"] = "many"

    assert shop.problem()[:2] == ("PORT", "app.config")


def test_flasks_own_default_is_nothing_that_the_app_has_set(shop: Shop) -> None:
    assert shop.app.config["DEBUG"] is False
    shop.put("environment", DEBUG="1")

    shop.load()

    assert shop.app.debug is True


def test_none_is_nothing_that_the_app_has_set(shop: Shop) -> None:
    shop.app.config["SHOP_ITEMS"] = None
    shop.put("environment", SHOP_ITEMS="20")

    shop.load()

    assert quorum.conf("SHOP_ITEMS") == 20


def test_the_secret_key_that_the_app_has_set_is_kept(shop: Shop) -> None:
    shop.app.secret_key = "of the app"
    shop.put("environment", SECRET_KEY="of the environment")

    shop.load()

    assert shop.app.secret_key == "of the app"


def test_debug_mode_of_flasks_command_line_is_debug_mode(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASK_DEBUG", "1")
    shop.put("environment", DEBUG="0")

    app = quorum.load(name="bank")

    assert app.debug is True
    assert quorum.conf("DEBUG") is True


def test_no_debug_mode_of_flasks_command_line_leaves_it_to_debug(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASK_DEBUG", "0")
    shop.put("environment", DEBUG="1")

    app = quorum.load(name="bank")

    assert app.debug is True


def test_a_keyword_is_above_the_debug_mode_of_flasks_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLASK_DEBUG", "1")

    app = quorum.load(name="bank", DEBUG=False)

    assert app.debug is False


# Keywords.


def test_a_keyword_may_be_typed(shop: Shop) -> None:
    shop.load(SHOP_ITEMS=20, DEBUG=True)

    assert quorum.conf("SHOP_ITEMS") == 20
    assert quorum.conf("DEBUG") is True


def test_a_keyword_of_none_is_not_given(shop: Shop) -> None:
    shop.put("environment", SHOP_ITEMS="20")

    shop.load(SHOP_ITEMS=None)

    assert quorum.conf("SHOP_ITEMS") == 20


def test_a_keyword_may_be_a_setting_of_flask(shop: Shop) -> None:
    shop.load(TESTING=True, MAX_CONTENT_LENGTH=1000)

    assert shop.app.testing is True
    assert shop.app.config["MAX_CONTENT_LENGTH"] == 1000


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PROT", "PORT"),
        ("port", "PORT"),
        ("SMTP_PASWORD", "SMTP_PASSWORD"),
        ("REDIS_URI", "REDIS_URL"),
        ("TESTNIG", "TESTING"),
    ],
)
def test_an_unknown_keyword_gets_the_likely_question(
    name: str, meant: str, shop: Shop
) -> None:
    fault = "it is no declared variable and none of Flask's settings."

    assert shop.problem(**{name: "1"}) == (
        name,
        "keyword",
        f"{fault} Did you mean '{meant}'?",
    )


def test_an_unknown_keyword_that_is_like_no_other_gets_no_question(shop: Shop) -> None:
    assert shop.problem(SHOP_COLOUR="red").text.endswith("Flask's settings.")


def test_an_unknown_keyword_is_an_error_without_a_value_too(shop: Shop) -> None:
    assert shop.problem(PROT=None).name == "PROT"


# The environment.


@pytest.mark.parametrize("source", [".env", "quorum.json", "keyword"])
def test_nothing_is_written_to_the_environment(source: str, shop: Shop) -> None:
    shop.put(source, PORT="8080", SHOP_PIN="1234", SECRET_KEY="seed")
    before = dict(os.environ)

    shop.load()
    quorum.confs("PORT", 8081)
    shop.run("config")

    assert dict(os.environ) == before


@pytest.mark.parametrize("name", ["DEBUG", "HOST", "LEVEL", "PORT"])
def test_a_shared_name_says_so_when_the_environment_has_a_bad_value(
    name: str, shop: Shop
) -> None:
    shop.put("environment", **{name: "not a value"})

    problem = shop.problem()

    assert problem[:2] == (name, "environment")
    assert problem.text.endswith(
        " Other programs use this name too: "
        f"load({name}=…) puts your value above the environment's."
    )


@pytest.mark.parametrize("source", ["keyword", "app.config", ".env", "quorum.json"])
def test_a_shared_name_is_the_apps_own_in_the_other_sources(
    source: str, shop: Shop
) -> None:
    shop.put(source, PORT="http")

    assert "Other programs" not in shop.problem().text


def test_a_name_that_is_not_shared_says_nothing_of_other_programs(shop: Shop) -> None:
    shop.put("environment", SHOP_ITEMS="many")

    assert "Other programs" not in shop.problem().text


@pytest.mark.parametrize(
    ("name", "value"),
    [("DEBUG", False), ("HOST", "::1"), ("LEVEL", "INFO"), ("NAME", "x"), ("PORT", 80)],
)
def test_a_keyword_puts_a_value_above_another_programs(
    name: str, value: object, shop: Shop
) -> None:
    shop.put("environment", **{name: "release/x86 build"})

    shop.load(**{name: value})

    assert quorum.conf(name) == value


# The file .env.


def test_the_file_follows_the_rules_of_python_dotenv(shop: Shop) -> None:
    shop.write(
        ".env",
        "# a comment\n"
        "export SHOP_ITEMS=20 # a comment\n"
        "\n"
        "SHOP_TITLE='Books # and more'\n"
        "SHOP_LATER\n"
        "BASE=redis://localhost\n"
        'REDIS_URL="${BASE}/1"\n',
    )

    shop.load()

    assert quorum.conf("SHOP_ITEMS") == 20
    assert quorum.conf("SHOP_TITLE") == "Books # and more"
    assert quorum.conf("SHOP_LATER") is None
    assert quorum.conf("REDISTOGO_URL") == "redis://localhost/1"


def test_the_file_needs_python_dotenv(shop: Shop) -> None:
    shop.put(".env", SHOP_ITEMS="20")
    shop.patch.setitem(sys.modules, "dotenv", None)

    with pytest.raises(quorum.MissingDependencyError) as caught:
        shop.load()

    assert (caught.value.library, caught.value.extra) == ("python-dotenv", "dotenv")
    assert "pip install 'quorum-flask[dotenv]'" in str(caught.value)


def test_no_file_needs_no_python_dotenv(shop: Shop) -> None:
    shop.patch.setitem(sys.modules, "dotenv", None)

    shop.load()

    assert quorum.conf("SHOP_ITEMS") == 1


@pytest.mark.parametrize("name", [".env", "quorum.json"])
def test_a_folder_of_that_name_is_no_source(name: str, shop: Shop) -> None:
    """Some keep their virtual environment in a folder named .env."""
    (shop.folder / name).mkdir()

    shop.load()

    assert quorum.conf("SHOP_ITEMS") == 1


def test_only_the_files_in_the_folder_of_the_app_count(
    shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shop.patch.chdir(tmp_path_factory.mktemp("elsewhere"))
    pathlib.Path(".env").write_text("SHOP_ITEMS=20\n")
    pathlib.Path("quorum.json").write_text('{"SHOP_ITEMS": 20}')

    shop.load()

    assert quorum.conf("SHOP_ITEMS") == 1


@pytest.mark.parametrize("name", [".env", "quorum.json"])
def test_a_file_that_is_not_utf_8_is_a_problem_of_the_file(
    name: str, shop: Shop
) -> None:
    shop.write(name, b'{"SHOP_TITLE": "caf\xe9"}')

    assert shop.problem() == (name, str(shop.folder), "it is not UTF-8 text.")


@pytest.mark.parametrize("name", [".env", "quorum.json"])
def test_a_file_that_cannot_be_read_is_a_problem_of_the_file(
    name: str, shop: Shop
) -> None:
    """A file without permission would not do: root reads it nevertheless."""
    shop.write(name, "{}")
    shop.patch.setattr("io.open", refuse)
    shop.patch.setattr("builtins.open", refuse)

    problem = shop.problem()

    assert problem == (name, str(shop.folder), "it cannot be read: Permission denied.")


def refuse(*_arguments: object, **_options: object) -> t.NoReturn:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_a_name_of_dotenv_without_a_value_is_not_set(shop: Shop) -> None:
    shop.write(".env", "SHOP_ITEMS\nSHOP_COLOUR\n")
    shop.put("quorum.json", SHOP_ITEMS="20", SHOP_COLOUR="red")

    shop.load()

    assert quorum.conf("SHOP_ITEMS") == 20
    assert quorum.conf("SHOP_COLOUR") == "red"


def test_what_the_app_has_set_to_none_is_not_set(shop: Shop) -> None:
    shop.put("app.config", DEBUG=None)
    shop.put("environment", DEBUG="on")

    shop.load()

    assert quorum.conf("DEBUG") is True


def copy_env(shop: Shop) -> None:
    """Do what Flask's command line does before it imports the app."""
    for line in (shop.folder / ".env").read_text().splitlines():
        shop.patch.setenv(line.partition("=")[0], "")  # so that it is removed again
        shop.patch.delenv(line.partition("=")[0])
    assert flask.cli.load_dotenv(shop.folder / ".env")


def test_what_flasks_command_line_copied_is_of_the_file_still(shop: Shop) -> None:
    shop.put(".env", SHOP_ITEMS="20")
    copy_env(shop)

    shop.load()

    assert os.environ["SHOP_ITEMS"] == "20"
    assert shop.source_of("SHOP_ITEMS") == ".env"


def test_what_flasks_command_line_copied_is_in_no_conflict_with_the_environment(
    shop: Shop,
) -> None:
    shop.put(".env", REDISTOGO_URL="memory:")
    shop.put("environment", REDIS_URL="redis://localhost")
    copy_env(shop)

    shop.load()

    assert quorum.conf("REDISTOGO_URL") == "redis://localhost"
    assert shop.source_of("REDISTOGO_URL") == "environment"


def test_what_flasks_command_line_copied_is_no_shared_name(shop: Shop) -> None:
    shop.put(".env", PORT="http")
    copy_env(shop)

    problem = shop.problem()

    assert problem.source == ".env"
    assert "Other programs" not in problem.text


# The file quorum.json.


def test_numbers_and_booleans_may_be_written_as_json_has_them(shop: Shop) -> None:
    values = '{"PORT": 8080, "DEBUG": true, "SMTP_TIMEOUT": 2.5, "SMTP_PASSWORD": 12}'
    shop.write("quorum.json", values)

    shop.load()

    assert quorum.conf("PORT") == 8080
    assert quorum.conf("DEBUG") is True
    assert quorum.conf("SMTP_TIMEOUT") == 2.5
    assert quorum.conf("SMTP_PASSWORD") == "12"


@pytest.mark.parametrize(("value", "parsed"), [("1", True), ("0", False)])
def test_a_boolean_may_be_a_number_in_json(
    value: str, parsed: bool, shop: Shop
) -> None:
    shop.write("quorum.json", f'{{"DEBUG": {value}}}')

    shop.load()

    assert quorum.conf("DEBUG") is parsed


def test_null_in_json_is_no_value(shop: Shop) -> None:
    shop.put("quorum.json", SHOP_ITEMS=None)

    shop.load()

    assert shop.source_of("SHOP_ITEMS") == "default"


@pytest.mark.parametrize("value", [{"page": 20}, [20], 2.5, True])
def test_another_kind_of_value_in_json_is_a_problem_of_the_variable(
    value: object, shop: Shop
) -> None:
    shop.put("quorum.json", SHOP_ITEMS=value)

    problem = shop.problem()

    assert problem[:2] == ("SHOP_ITEMS", "quorum.json")
    assert "is not a whole number" in problem.text


def test_a_nested_value_that_nobody_declared_is_json_text(shop: Shop) -> None:
    shop.put("quorum.json", SHOP_COLOURS={"sky": ["blue"]})

    shop.load()

    assert json.loads(quorum.conf("SHOP_COLOURS", "")) == {"sky": ["blue"]}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"PORT": 1,}', "line 1, column"),
        ('{\n  "PORT" 1\n}', "line 2, column 10"),
        ("", "line 1, column 1: Expecting value."),
        ("[1]", "it is not an object of names and values."),
        ("null", "it is not an object of names and values."),
        ('"PORT"', "it is not an object of names and values."),
        ("[" * 100_000, "recursion"),
        (f'{{"PORT": {"9" * 5000}}}', "4300 digits"),
    ],
    ids=range(8),
)
def test_bad_json_is_a_problem_of_the_file(content: str, text: str, shop: Shop) -> None:
    shop.write("quorum.json", content)

    problem = shop.problem()

    assert problem[:2] == ("quorum.json", str(shop.folder))
    assert text in problem.text
    assert problem.text.endswith(".")


@fuzzed
@hypothesis.given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=5,
    )
)
def test_any_json_is_loaded_or_is_a_config_error(value: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        content = {"PORT": value, "DEBUG": value, "REDIS_URL": value, "OTHER": value}
        pathlib.Path(folder, "quorum.json").write_text(json.dumps(content))

        try:
            app = quorum.load(flask.Flask("shop", root_path=folder))
        except quorum.ConfigError as error:
            names = {problem.name for problem in error.problems}
            assert names <= {"PORT", "DEBUG", "REDISTOGO_URL"}
        else:
            assert value is None or value == ""
            quorum.unload(app=app)


# What is reported.


def test_all_problems_are_reported_together(shop: Shop) -> None:
    shop.put("keyword", SHOP_ITEMS="many", PROT=1)
    shop.put("app.config", HOST="a b")
    shop.put("environment", PORT="http", REDIS_URL="redis:x y", SMTP_TIMEOUT="0")
    shop.put(".env", DEBUG="maybe", LEVEL="LOUD")
    shop.write("quorum.json", "{")

    problems = shop.problems()

    assert sorted(problem[:2] for problem in problems) == [
        ("DEBUG", ".env"),
        ("HOST", "app.config"),
        ("LEVEL", ".env"),
        ("PORT", "environment"),
        ("PROT", "keyword"),
        ("REDISTOGO_URL", "environment"),
        ("SHOP_ITEMS", "keyword"),
        ("SMTP_TIMEOUT", "environment"),
        ("quorum.json", str(shop.folder)),
    ]


@pytest.mark.parametrize("source", ORDER)
@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("DEBUG", "maybe", "'maybe' is not one of 1/0, true/false, yes/no, on/off."),
        ("PORT", "http", "'http' is not a whole number from 0 to 65535."),
        ("HOST", "a b", "'a b' is not a host name or an IP address."),
        ("SMTP_HOST", "a:b", "'a:b' is not a host, or host:port."),
        ("SMTP_TIMEOUT", "0", "'0' is not a number of seconds above 0."),
        ("LOG_FORMAT", "xml", "'xml' is not one of text, json."),
        ("SHOP_PIN", "12x", "its value (hidden) is not a whole number."),
        ("REDISTOGO_URL", "x", "its value (hidden) is not a URL that starts with "),
    ],
)
def test_a_problem_tells_the_name_the_source_and_what_would_be_right(
    name: str, value: str, right: str, source: str, shop: Shop
) -> None:
    shop.put(source, **{name: value})

    problem = shop.problem()

    assert problem[:2] == (name, source)
    assert problem.text.startswith(right)


def test_a_load_that_failed_leaves_the_app_as_it_was(shop: Shop) -> None:
    before = dict(shop.app.config), dict(shop.app.extensions)

    shop.problems(SHOP_ITEMS="many", TESTING=True)

    assert (dict(shop.app.config), dict(shop.app.extensions)) == before
    assert quorum.APP is None


@pytest.mark.parametrize("source", [".env", "quorum.json"])
def test_a_misspelt_name_in_a_file_is_warned_of(
    source: str, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.put(source, SMTP_PASWORD="hunter22")

    shop.load()

    (record,) = caplog.records
    assert record.name == "quorum"
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"{source}: 'SMTP_PASWORD' is no declared variable. "
        "Did you mean 'SMTP_PASSWORD'?"
    )


@pytest.mark.parametrize("source", [".env", "quorum.json"])
def test_a_setting_of_flask_in_a_file_is_warned_of(
    source: str, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.put(source, SESSION_COOKIE_SECURE="1", DEBUG="0", TESTING="1")

    shop.load(TESTING=True)

    (message,) = caplog.messages
    assert message == (
        f"{source}: 'SESSION_COOKIE_SECURE' is a setting of Flask, which has to be "
        "given to load() or put into app.config."
    )


@pytest.mark.parametrize("source", [".env", "quorum.json"])
def test_a_good_name_in_a_file_is_not_warned_of(
    source: str, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.write("pin", "1234")
    shop.put(source, PORT="80", REDIS_URL="memory:", SHOP_PIN_FILE="pin", ZEBRA="x")

    shop.load()

    assert not caplog.records


def test_a_misspelt_name_in_the_environment_is_none_of_quorums_business(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.put("environment", SMTP_PASWORD="hunter22")

    shop.load()

    assert not caplog.records


# Aliases.


@every_pair
@pytest.mark.parametrize(
    ("first", "second"), [("SHOP_TITLE", "SHOP_NAME"), ("SHOP_NAME", "SHOP_TITLE")]
)
def test_the_higher_source_wins_whatever_the_spelling(
    first: str, second: str, higher: str, lower: str, shop: Shop
) -> None:
    shop.put(higher, **{first: "Books"})
    shop.put(lower, **{second: "Shoes"})

    shop.load()

    assert quorum.conf("SHOP_TITLE") == "Books"
    assert quorum.conf("SHOP_NAME") == "Books"


@pytest.mark.parametrize("source", ORDER)
def test_two_spellings_with_different_values_in_one_source_are_an_error(
    source: str, shop: Shop
) -> None:
    shop.put(source, SHOP_TITLE="Books", SHOP_NAME="Shoes")

    assert shop.problem() == (
        "SHOP_TITLE",
        source,
        "SHOP_TITLE and SHOP_NAME mean the same and have different values. Keep one.",
    )


@pytest.mark.parametrize("source", ORDER)
def test_two_spellings_with_the_same_value_in_one_source_are_fine(
    source: str, shop: Shop
) -> None:
    shop.put(source, SHOP_TITLE="Books", SHOP_NAME="Books")

    shop.load()

    assert quorum.conf("SHOP_TITLE") == "Books"


def test_two_spellings_that_differ_below_a_value_do_not_count(shop: Shop) -> None:
    shop.put("environment", SHOP_TITLE="Books", SHOP_NAME="Shoes")

    shop.load(SHOP_NAME="Hats")

    assert quorum.conf("SHOP_TITLE") == "Hats"


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("REDIS_URL", "REDISTOGO_URL"),
        ("MONGO_URL", "MONGOHQ_URL"),
        ("MONGOLAB_URI", "MONGOHQ_URL"),
        ("AMQP_URL", "CLOUDAMQP_URL"),
        ("RABBITMQ_URL", "CLOUDAMQP_URL"),
    ],
)
def test_the_other_names_of_services_are_known(
    alias: str, name: str, shop: Shop
) -> None:
    scheme = {"CLOUDAMQP_URL": "amqp", "MONGOHQ_URL": "mongodb"}.get(name, "redis")
    shop.put("environment", **{alias: f"{scheme}://localhost"})

    shop.load()

    assert quorum.conf(name) == f"{scheme}://localhost"


# Empty values.


@pytest.mark.parametrize("source", ORDER[:-1])
@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_value_brings_the_default_back(
    empty: str, source: str, shop: Shop
) -> None:
    shop.put("quorum.json", SHOP_ITEMS=20)
    shop.put(source, SHOP_ITEMS=empty)

    shop.load()

    assert quorum.conf("SHOP_ITEMS") == 1


def test_an_empty_value_of_what_has_no_default_leaves_it_without_a_value(
    shop: Shop,
) -> None:
    shop.put(".env", REDIS_URL="memory:")
    shop.put("environment", REDISTOGO_URL="")

    shop.load()

    with pytest.raises(quorum.SettingMissingError, match=r"^REDISTOGO_URL"):
        quorum.get_redis()


@pytest.mark.parametrize(
    ("title", "name"), [("Books", ""), ("", "Books"), ("Books", " ")]
)
def test_an_empty_spelling_is_in_no_conflict_with_a_full_one(
    title: str, name: str, shop: Shop
) -> None:
    shop.put("environment", SHOP_TITLE=title, SHOP_NAME=name)

    shop.load()

    assert quorum.conf("SHOP_TITLE") == "Books"


def test_an_empty_value_that_nobody_declared_stays_empty(shop: Shop) -> None:
    shop.put("environment", SHOP_COLOUR="")

    shop.load()

    assert quorum.conf("SHOP_COLOUR", "red") == ""


# Files of secrets.


@pytest.mark.parametrize("source", ORDER)
def test_a_secret_can_be_read_from_a_file(source: str, shop: Shop) -> None:
    shop.write("password", "hunter22")
    shop.put(source, SMTP_PASSWORD_FILE=str(shop.folder / "password"))

    shop.load()

    assert quorum.conf("SMTP_PASSWORD") == "hunter22"
    assert shop.source_of("SMTP_PASSWORD") == source


def test_a_file_of_a_secret_is_relative_to_the_folder_of_the_app(
    shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shop.patch.chdir(tmp_path_factory.mktemp("elsewhere"))
    (shop.folder / "secrets").mkdir()
    shop.write("secrets/password", "hunter22")
    shop.put("environment", SMTP_PASSWORD_FILE="secrets/password")

    shop.load()

    assert quorum.conf("SMTP_PASSWORD") == "hunter22"


@pytest.mark.parametrize("source", ["environment", "app.config"])
def test_a_variable_that_is_no_secret_is_not_read_from_a_file(
    source: str, shop: Shop
) -> None:
    shop.write("name", "hunter22")
    shop.put(source, NAME_FILE="name")

    shop.load()

    assert quorum.conf("NAME") != "hunter22"


def test_a_file_of_a_secret_may_be_a_path_object(shop: Shop) -> None:
    shop.write("password", "hunter22")

    shop.load(SMTP_PASSWORD_FILE=shop.folder / "password")

    assert quorum.conf("SMTP_PASSWORD") == "hunter22"


def test_a_file_of_a_secret_may_be_named_by_an_alias(shop: Shop) -> None:
    shop.write("url", "redis://localhost")
    shop.put("environment", REDIS_URL_FILE="url")

    shop.load()

    assert quorum.conf("REDISTOGO_URL") == "redis://localhost"


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        ("hunter22\n", "hunter22"),
        ("hunter22\r\n", "hunter22"),
        ("hunter22\n\n", "hunter22\n"),
        (" hunter 22 \n", " hunter 22 "),
        ("hunter22\r", "hunter22"),
        ("one\ntwo", "one\ntwo"),
        ("häschen", "häschen"),
    ],
)
def test_a_file_of_a_secret_loses_one_line_break_at_its_end(
    content: str, secret: str, shop: Shop
) -> None:
    shop.write("password", content)

    shop.load(SMTP_PASSWORD_FILE="password")

    assert quorum.conf("SMTP_PASSWORD") == secret


def test_an_empty_file_of_a_secret_is_an_empty_value(shop: Shop) -> None:
    shop.write("password", "\n")
    shop.put(".env", SMTP_PASSWORD="hunter22")
    shop.put("environment", SMTP_PASSWORD_FILE="password")

    shop.load()

    assert quorum.conf("SMTP_PASSWORD") is None


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nothing", "No such file or directory"),
        (".", "Is a directory"),
        ("secret\0", "null"),
        ("n" * 5000, "File name too long"),
    ],
    ids=["missing", "folder", "null", "long"],
)
def test_a_file_of_a_secret_that_cannot_be_read_is_a_problem(
    path: str, reason: str, shop: Shop
) -> None:
    problem = shop.problem(SMTP_PASSWORD_FILE=path)

    assert problem[:2] == ("SMTP_PASSWORD_FILE", "keyword")
    assert reason in problem.text
    assert problem.text.endswith(".")


def test_a_path_object_of_a_secret_that_cannot_be_read_is_shown_as_text(
    shop: Shop,
) -> None:
    problem = shop.problem(SMTP_PASSWORD_FILE=pathlib.Path("nothing"))

    assert problem.text.startswith("the file 'nothing' cannot be read: ")


def test_a_file_of_a_secret_that_is_not_utf_8_is_a_problem(shop: Shop) -> None:
    shop.write("password", b"hunter22\xff")

    problem = shop.problem(SMTP_PASSWORD_FILE="password")

    assert problem.name == "SMTP_PASSWORD_FILE"
    assert "not UTF-8 text" in problem.text
    assert "hunter22" not in problem.text


def test_a_file_of_a_late_secret_that_is_not_utf_8_is_not_shown(shop: Shop) -> None:
    shop.write("token", b"hunter22\xff")
    shop.put("environment", SHOP_LATE_FILE="token")
    shop.load()
    quorum.variable("SHOP_LATE", str, secret=True)

    with pytest.raises(quorum.ConfigError) as caught:
        quorum.conf("SHOP_LATE")

    assert "hunter22" not in everything(caught.value)


def test_a_bad_value_in_a_file_of_a_secret_is_a_problem_of_the_variable(
    shop: Shop,
) -> None:
    shop.write("pin", "hunter22")

    assert shop.problem(SHOP_PIN_FILE="pin") == (
        "SHOP_PIN",
        "keyword",
        "its value (hidden) is not a whole number.",
    )


@pytest.mark.parametrize("source", ORDER)
def test_a_secret_and_a_file_of_another_one_in_one_source_are_an_error(
    source: str, shop: Shop
) -> None:
    shop.write("password", "hunter22")
    shop.put(source, SMTP_PASSWORD="hunter23", SMTP_PASSWORD_FILE="password")

    problem = shop.problem()

    assert problem[:2] == ("SMTP_PASSWORD", source)
    assert "SMTP_PASSWORD and SMTP_PASSWORD_FILE mean the same" in problem.text
    assert "hunter" not in problem.text


def test_a_secret_and_a_file_of_the_same_one_are_fine(shop: Shop) -> None:
    shop.write("password", "hunter22\n")
    shop.put("environment", SMTP_PASSWORD="hunter22", SMTP_PASSWORD_FILE="password")

    shop.load()

    assert quorum.conf("SMTP_PASSWORD") == "hunter22"


@pytest.mark.parametrize(
    ("higher", "lower", "secret"),
    [
        ("SMTP_PASSWORD", "SMTP_PASSWORD_FILE", "hunter23"),
        ("SMTP_PASSWORD_FILE", "SMTP_PASSWORD", "hunter22"),
    ],
)
def test_the_higher_source_wins_between_a_secret_and_its_file(
    higher: str, lower: str, secret: str, shop: Shop
) -> None:
    shop.write("password", "hunter22")
    values = {"SMTP_PASSWORD": "hunter23", "SMTP_PASSWORD_FILE": "password"}
    shop.put("environment", **{higher: values[higher]})
    shop.put(".env", **{lower: values[lower]})

    shop.load()

    assert quorum.conf("SMTP_PASSWORD") == secret


def test_what_is_no_secret_is_not_read_from_a_file(shop: Shop) -> None:
    shop.write("items", "20")
    shop.put("environment", SHOP_ITEMS_FILE="items")
    shop.put(".env", SHOP_ITEMS="30", SHOP_ITEMS_FILE="items")

    shop.load()

    assert quorum.conf("SHOP_ITEMS") == 30


def test_a_file_of_what_is_no_secret_is_an_unknown_keyword(shop: Shop) -> None:
    assert shop.problem(SHOP_ITEMS_FILE="items").name == "SHOP_ITEMS_FILE"


# Everything is read once.


def test_later_changes_of_the_environment_do_not_count(shop: Shop) -> None:
    shop.put("environment", SHOP_ITEMS="20", SHOP_COLOUR="red", SHOP_LATE="1")
    shop.load()

    shop.put("environment", SHOP_ITEMS="30", SHOP_COLOUR="green", SHOP_LATE="2", NEW="")
    shop.patch.delenv("SHOP_COLOUR")
    quorum.variable("SHOP_LATE", int)

    assert quorum.conf("SHOP_ITEMS") == 20
    assert quorum.conf("SHOP_COLOUR") == "red"
    assert quorum.conf("SHOP_LATE") == 1
    assert "NEW" not in quorum.confd()


@pytest.mark.parametrize("source", [".env", "quorum.json"])
def test_later_changes_of_the_files_do_not_count(source: str, shop: Shop) -> None:
    shop.put(source, SHOP_ITEMS="20", SHOP_COLOUR="red", SHOP_LATE="1")
    shop.load()

    shop.put(source, SHOP_ITEMS="30", SHOP_COLOUR="green", SHOP_LATE="2", NEW="new")
    quorum.variable("SHOP_LATE", int)

    assert quorum.conf("SHOP_ITEMS") == 20
    assert quorum.conf("SHOP_COLOUR") == "red"
    assert quorum.conf("SHOP_LATE") == 1
    assert "NEW" not in quorum.confd()


def test_later_changes_of_the_apps_settings_do_not_count(shop: Shop) -> None:
    shop.load(SHOP_ITEMS=20)

    shop.app.config["SHOP_ITEMS"] = 30
    shop.app.config["SHOP_COLOUR"] = "red"

    assert quorum.conf("SHOP_ITEMS") == 20
    assert quorum.conf("SHOP_COLOUR") is None


def test_later_changes_of_a_file_of_a_secret_do_not_count(shop: Shop) -> None:
    shop.write("password", "hunter22")
    shop.load(SMTP_PASSWORD_FILE="password")

    shop.write("password", "hunter23")
    with quorum.conf_override("SMTP_PASSWORD", "other"):
        pass

    assert quorum.conf("SMTP_PASSWORD") == "hunter22"


def test_a_file_of_a_secret_is_not_needed_after_the_load(shop: Shop) -> None:
    shop.write("password", "hunter22")
    shop.load(SMTP_PASSWORD_FILE="password")

    (shop.folder / "password").unlink()
    with quorum.conf_override("SMTP_PASSWORD", "other"):
        pass

    assert quorum.conf("SMTP_PASSWORD") == "hunter22"


def test_the_next_load_reads_anew(shop: Shop) -> None:
    shop.put("environment", SHOP_ITEMS="20")
    shop.load()
    quorum.unload()
    shop.put("environment", SHOP_ITEMS="30")

    shop.load()

    assert quorum.conf("SHOP_ITEMS") == 30


# No secret is ever shown.

#: Stands in every secret, and survives quoting of every kind.
MARK = "zQ7xW9"

#: What an environment variable can hold.
any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))

awkward = st.text("/:@?#[]% '\"\\\n")

around = st.tuples(any_text, any_text) | st.tuples(awkward, awkward)
secrets = around.map(MARK.join)


def everything(error: BaseException | None) -> str:
    """Return all that an error shows to whoever prints, logs or keeps it."""
    shown = ""
    while error is not None:
        shown += f"{error}\n{error!r}\n{error.args}\n{vars(error)}\n"
        shown += "".join(traceback.format_exception(error))
        error = error.__cause__
    return shown


def quoting(value: str) -> int:
    """Be a parser whose errors quote the value."""
    raise LookupError(f"{value} / {value!r}") from ValueError(value)


def put(
    folder: str, patch: pytest.MonkeyPatch, source: str, name: str, value: str
) -> dict[str, t.Any]:
    """Write a value where a source has it, or return the keywords to load it."""
    if source == "quorum.json":
        file = pathlib.Path(folder, "quorum.json")
        known = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**known, name: value}))
    elif source == "file":
        pathlib.Path(folder, name).write_text(value, encoding="utf-8")
        return {f"{name}_FILE": name}
    elif source == "keyword":
        return {name: value}
    else:
        patch.setenv(name, value)
    return {}


every_source = pytest.mark.parametrize(
    "source", ["keyword", "environment", "quorum.json", "file"]
)


@every_source
@fuzzed
@hypothesis.given(secret=secrets)
def test_no_error_shows_a_bad_secret(source: str, secret: str) -> None:
    quorum.variable("SHOP_PIN", int, secret=True)
    quorum.variable("SHOP_ODD", quoting, secret=True)
    keywords: dict[str, t.Any] = {}

    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in ("SHOP_PIN", "SHOP_ODD", "CLOUDAMQP_URL"):
            keywords |= put(folder, patch, source, name, secret)
        url = f"redis://shop:{secret}@local host"
        keywords |= put(folder, patch, source, "REDISTOGO_URL", url)
        app = flask.Flask("shop", root_path=folder)
        with pytest.raises(quorum.ConfigError) as caught:
            quorum.load(app, **keywords)

    assert {problem.name for problem in caught.value.problems} == {
        "SHOP_PIN",
        "SHOP_ODD",
        "CLOUDAMQP_URL",
        "REDISTOGO_URL",
    }
    assert MARK not in everything(caught.value)


@fuzzed
@hypothesis.given(secret=secrets)
def test_no_error_of_an_app_that_is_loaded_shows_a_secret(secret: str) -> None:
    shown = ""

    with tempfile.TemporaryDirectory() as folder:
        content = json.dumps({"SHOP_RAW": secret, "SHOP_LATE": secret})
        pathlib.Path(folder, "quorum.json").write_text(content)
        app = quorum.load(flask.Flask("shop", root_path=folder))
        late = quorum.variable("SHOP_LATE", quoting, secret=True)
        reads: list[t.Callable[[], object]] = [
            lambda: quorum.conf("SHOP_RAW", cast=int),
            lambda: quorum.conf("SHOP_RAW", cast=quoting),
            lambda: quorum.conf("SHOP_LATE", cast=int),
            lambda: quorum.conf(late),
            lambda: quorum.confs("SHOP_LATE", secret),
            lambda: quorum.confs("REDIS_URL", f"redis://shop:{secret}@a b"),
            quorum.conf_override("SHOP_LATE", secret).__enter__,
        ]
        for read in reads:
            with pytest.raises(quorum.ConfigError) as caught:
                read()
            shown += everything(caught.value)
        quorum.unload(app=app)
        del config.VARIABLES["SHOP_LATE"], config.SPELLINGS["SHOP_LATE"]

    assert MARK not in shown


@fuzzed
@hypothesis.given(secret=secrets)
def test_no_error_shows_secrets_that_differ(secret: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        content = json.dumps({"REDIS_URL": secret, "REDISTOGO_URL": f"{secret}x"})
        pathlib.Path(folder, "quorum.json").write_text(content)

        with pytest.raises(quorum.ConfigError) as caught:
            quorum.load(flask.Flask("shop", root_path=folder))

    assert MARK not in everything(caught.value)


@every_source
@fuzzed
@hypothesis.given(secret=secrets)
def test_no_repr_and_no_listing_shows_a_secret(source: str, secret: str) -> None:
    token = quorum.variable("SHOP_TOKEN", str, secret=True)
    keywords: dict[str, t.Any] = {}
    url = f"redis://shop:{urllib.parse.quote(secret, '')}@localhost"

    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in ("SMTP_PASSWORD", "SHOP_TOKEN", "SHOP_UNDECLARED"):
            if (source, name) != ("keyword", "SHOP_UNDECLARED"):
                keywords |= put(folder, patch, source, name, secret)
        keywords |= put(folder, patch, source, "REDISTOGO_URL", url)
        keywords.pop("SHOP_UNDECLARED_FILE", None)
        app = quorum.load(flask.Flask("shop", root_path=folder), **keywords)
        runner = app.test_cli_runner()
        shown = [
            repr(quorum.get_settings(MailSettings)),
            repr(quorum.get_settings(RedisSettings)),
            repr([token, quorum.conf("REDISTOGO_URL")]),
            *(repr(values) for values in (quorum.confd(), quorum.conf_prefix("SH"))),
            *(str(values) for values in (quorum.confd(), quorum.conf_suffix("D"))),
            runner.invoke(cli.group, ["config"]).output,
            runner.invoke(cli.group, ["config", "--json"]).output,
            runner.invoke(cli.group, ["config", "--example"]).output,
        ]
        quorum.unload(app=app)

    assert "SHOP_TOKEN" in shown[-3]
    assert all(MARK not in text for text in shown)


@pytest.mark.parametrize("form", ["text", "json"])
@fuzzed
@hypothesis.given(secret=secrets)
def test_no_log_shows_a_secret(form: str, secret: str) -> None:
    quorum.variable("SHOP_TOKEN", str, secret=True)
    password = urllib.parse.quote(secret, "")

    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, ".env").write_text("SHOP_TOKENS=x\n")
        app = quorum.load(
            flask.Flask("shop", root_path=folder),
            logger="shop",
            LOG_FOLDER=folder,
            LOG_FORMAT=form,
            SHOP_TOKEN=secret,
            REDIS_URL=f"redis://shop:{password}@localhost",
        )
        quorum.warning("The token is %s.", secret)
        quorum.warning("The token is %r.", secret)
        quorum.warning("The tokens are %s.", [secret])
        quorum.warning("The password is %s.", password)
        quorum.warning("The URL is %s.", quorum.conf("REDIS_URL"))
        quorum.warning("There is more.", extra={"token": secret, "all": [secret]})
        try:
            raise KeyError(secret)
        except KeyError:
            quorum.get_log().exception("It failed.")
        quorum.unload(app=app)
        written = pathlib.Path(folder, "shop.log").read_text("utf-8")

    assert "It failed." in written
    assert "Did you mean" in written
    assert MARK not in written


def test_no_log_shows_a_secret_that_was_declared_after_the_load(shop: Shop) -> None:
    shop.put("environment", SHOP_LATE="hunter22")
    shop.load(logger="shop", LOG_FOLDER=str(shop.folder))
    late = quorum.variable("SHOP_LATE", str, secret=True)

    quorum.warning("The token is %s.", quorum.conf(late))

    assert "The token is ***." in (shop.folder / "shop.log").read_text()


def test_no_log_shows_a_secret_that_was_set_after_the_load(shop: Shop) -> None:
    shop.load(logger="shop", LOG_FOLDER=str(shop.folder))
    quorum.confs("SMTP_PASSWORD", "hunter22")

    quorum.warning("The password is %s.", quorum.conf("SMTP_PASSWORD"))

    assert "The password is ***." in (shop.folder / "shop.log").read_text()
