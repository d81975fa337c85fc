import importlib.metadata
import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import flask
import pytest
from click.testing import Result

import quorum
from quorum import cli, config
from quorum.loading import SERVICES
from quorum.testing import outbox
from tests.conftest import MakeApp
from tests.processes import clean_environment, free_port

Rows: t.TypeAlias = dict[str, dict[str, t.Any]]


def invoke(app: flask.Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(cli.group, arguments)


def output(app: flask.Flask, *arguments: str) -> str:
    result = invoke(app, *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def config_rows(app: flask.Flask) -> Rows:
    rows = json.loads(output(app, "config", "--json"))
    return {row["name"]: row for row in rows}


def check_rows(app: flask.Flask) -> Rows:
    rows = json.loads(invoke(app, "check", "--json").stdout)
    return {row["service"]: row for row in rows}


def flask_command(
    folder: pathlib.Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Flask's own command in a folder, with these environment variables only."""
    root = str(pathlib.Path(quorum.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-m", "flask", *arguments],
        cwd=folder,
        env=clean_environment(PYTHONPATH=root, **variables),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(autouse=True)
def clean_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what boto3 reads from the environment by itself."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def program(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a folder with a program of a user in it, ``shop.py``."""
    (tmp_path / "shop.py").write_text("import quorum\napp = quorum.load(name='shop')\n")
    return tmp_path


# flask quorum config.


def test_the_listing_has_a_line_for_every_variable(make_app: MakeApp) -> None:
    lines = output(make_app(), "config").splitlines()

    assert lines[0].split() == ["name", "value", "source", "default"]
    assert [line.split()[0] for line in lines[1:]] == sorted(config.VARIABLES)


@pytest.mark.parametrize(
    "line",
    [
        ["PORT", "8080", "keyword", "5000"],
        ["DEBUG", "false", "default", "false"],
        ["SMTP_USER", "-", "default", "-"],
        ["SMTP_HOST", "-", "not", "set", "-"],
        ["SMTP_PASSWORD", "***", "environment", "-"],
    ],
    ids=lambda line: str(line[0]),
)
def test_the_listing_shows_value_source_and_default(
    line: list[str], make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", "hunter22")

    lines = output(make_app(PORT=8080), "config").splitlines()

    assert line in [found.split() for found in lines]


def test_the_columns_of_the_listing_are_aligned(make_app: MakeApp) -> None:
    header, *lines = output(make_app(), "config").splitlines()

    for column in ("value", "source", "default"):
        start = header.index(column)
        assert {(line[start - 1], line[start] == " ") for line in lines} == {
            (" ", False)
        }


def test_the_json_listing_has_all_facts_of_a_variable(make_app: MakeApp) -> None:
    row = config_rows(make_app(PORT="8080"))["PORT"]

    declared = config.VARIABLES["PORT"]
    assert row == {
        "name": "PORT",
        "value": 8080,
        "source": "keyword",
        "default": 5000,
        "type": "integer",
        "secret": False,
        "since": declared.since,
        "aliases": [],
        "help": declared.help,
    }


def test_the_json_listing_has_every_variable(make_app: MakeApp) -> None:
    assert sorted(config_rows(make_app())) == sorted(config.VARIABLES)


@pytest.mark.parametrize(
    ("name", "value"),
    [("DEBUG", False), ("SMTP_TIMEOUT", 10.0), ("HOST", "127.0.0.1"), ("NAME", None)],
)
def test_the_json_listing_has_typed_values(
    name: str, value: object, make_app: MakeApp
) -> None:
    row = config_rows(make_app())[name]

    assert (row["value"], row["default"]) == (value, value)
    assert type(row["value"]) is type(value)


def test_the_json_listing_names_the_aliases(make_app: MakeApp) -> None:
    row = config_rows(make_app())["MONGOHQ_URL"]

    assert row["aliases"] == ["MONGO_URL", "MONGOLAB_URI"]


def test_the_json_listing_shows_values_that_json_does_not_know(
    make_app: MakeApp,
) -> None:
    quorum.variable("SHOP_FOLDER", pathlib.Path)

    row = config_rows(make_app(SHOP_FOLDER="/srv/shop"))["SHOP_FOLDER"]

    assert row["value"] == "/srv/shop"


def test_the_listing_has_the_variables_of_the_user(make_app: MakeApp) -> None:
    quorum.variable("SHOP_ITEMS", int, default=3, help="Number of items on a page.")

    row = config_rows(make_app())["SHOP_ITEMS"]

    assert (row["value"], row["help"]) == (3, "Number of items on a page.")


def test_the_listing_shows_what_confs_has_set(make_app: MakeApp) -> None:
    app = make_app()
    quorum.confs("PORT", 8080)

    row = config_rows(app)["PORT"]

    assert (row["value"], row["source"]) == (8080, "confs")


@pytest.mark.parametrize("option", ["--json", "--example", None])
def test_no_listing_shows_the_default_of_a_secret(
    option: str | None, make_app: MakeApp
) -> None:
    quorum.variable("SHOP_TOKEN", str, default="hunter22", secret=True)

    shown = output(make_app(), "config", *filter(None, [option]))

    assert "SHOP_TOKEN" in shown
    assert "hunter22" not in shown


@pytest.mark.parametrize("option", ["--json", None])
def test_no_listing_shows_a_password_in_a_url(
    option: str | None, make_app: MakeApp
) -> None:
    """Not every variable that is a URL is a secret as a whole."""
    app = make_app(AMAZON_ENDPOINT="https://shop:hunter22@s3.example.org")

    shown = output(app, "config", *filter(None, [option]))

    assert "s3.example.org" in shown
    assert "hunter22" not in shown


# flask quorum config --example.

ASSIGNMENT = re.compile(r"^#(?=[A-Z][A-Z0-9_]*=)", re.MULTILINE)


def values_of(app: flask.Flask) -> dict[str, t.Any]:
    """Return the values of all declared variables that have one."""
    with app.app_context():
        known = quorum.confd()
    return {name: known.get(name) for name in config.VARIABLES}


def load_from(folder: pathlib.Path, content: str) -> flask.Flask:
    """Load an app whose folder has a file .env."""
    (folder / ".env").write_text(content, encoding="utf-8")
    return quorum.load(flask.Flask("shop", root_path=str(folder)))


def test_the_example_has_every_variable_once(make_app: MakeApp) -> None:
    example = output(make_app(), "config", "--example")

    names = re.findall(r"^#([A-Z][A-Z0-9_]*)=", example, re.MULTILINE)
    assert sorted(names) == sorted(config.VARIABLES)


def test_the_example_explains_every_variable(make_app: MakeApp) -> None:
    example = output(make_app(), "config", "--example")

    for declared in config.VARIABLES.values():
        head, _, _ = example.partition(f"\n#{declared.name}=")
        explained = head.rpartition("\n\n")[2]
        assert f"# {declared.help}\n" in explained
        assert declared.parser.expects in explained
        assert all(alias in explained for alias in declared.aliases)
        assert (f"{declared.name}_FILE" in explained) is declared.secret


def test_the_example_is_commented_out(make_app: MakeApp) -> None:
    lines = output(make_app(), "config", "--example").splitlines()

    assert all(not line or line.startswith("#") for line in lines)


def test_the_example_changes_nothing_as_it_stands(
    make_app: MakeApp, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()
    before = values_of(app)
    example = output(app, "config", "--example")
    quorum.unload(app=app)

    again = load_from(tmp_path, example)

    assert values_of(again) == before
    assert not caplog.records


def test_the_example_uncommented_loads_to_the_defaults(
    make_app: MakeApp, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()
    before = values_of(app)
    example = ASSIGNMENT.sub("", output(app, "config", "--example"))
    quorum.unload(app=app)

    again = load_from(tmp_path, example)

    assert values_of(again) == before
    assert config_rows(again)["PORT"]["source"] == ".env"
    assert not caplog.records


@pytest.mark.parametrize(
    "default",
    [
        "two words",
        " spaces around ",
        "a # b",
        "#fff",
        "it's",
        'say "hi"',
        "'quoted'",
        "back\\slash",
        "two\nlines",
        "naïve",
        "a=b",
    ],
)
def test_the_example_uncommented_loads_to_the_defaults_of_the_user(
    default: str, make_app: MakeApp, tmp_path: pathlib.Path
) -> None:
    quorum.variable("SHOP_TITLE", str, default=default, help="Title of the shop.")
    quorum.variable("SHOP_OPEN", bool, default=True, help="Whether it is open.")
    app = make_app()
    example = ASSIGNMENT.sub("", output(app, "config", "--example"))
    quorum.unload(app=app)

    load_from(tmp_path, example)

    assert quorum.conf("SHOP_TITLE") == default
    assert quorum.conf("SHOP_OPEN") is True


def test_the_example_shows_no_values(make_app: MakeApp) -> None:
    app = make_app(SMTP_PASSWORD="hunter22", SMTP_USER="shop@example.org")

    example = output(app, "config", "--example")

    assert "hunter22" not in example
    assert "shop@example.org" not in example


# flask quorum check.


def test_services_that_are_not_configured_are_no_failure(make_app: MakeApp) -> None:
    app = make_app()

    result = invoke(app, "check")

    assert result.exit_code == 0
    *lines, queue = [line.split() for line in result.output.splitlines()]
    assert lines == [[item.name, "not", "configured"] for item in SERVICES[:-1]]
    assert (queue[:2], queue[-1]) == (["queue", "ok"], "thread:")


def test_services_in_memory_are_ok(make_app: MakeApp) -> None:
    app = make_app(REDISTOGO_URL="memory:", MONGOHQ_URL="memory:")

    result = invoke(app, "check")

    assert result.exit_code == 0
    for service in ("redis", "mongodb"):
        assert re.search(
            rf"^{service} +ok +\d+ ms  memory:$", result.output, re.MULTILINE
        )


@pytest.fixture
def closed() -> str:
    """Return the address of a port that nobody listens on."""
    return f"127.0.0.1:{free_port()}"


FAILING: dict[str, dict[str, str]] = {
    "mail": {"SMTP_HOST": "{}"},
    "redis": {"REDISTOGO_URL": "redis://:hunter22@{}"},
    "mongodb": {
        "MONGOHQ_URL": "mongodb://shop:hunter22@{}",
        "MONGODB_TIMEOUT": "0.2",
    },
    "amqp": {"CLOUDAMQP_URL": "amqp://shop:hunter22@{}"},
    "amazon": {
        "AMAZON_BUCKET": "shop",
        "AMAZON_ID": "shop",
        "AMAZON_SECRET": "hunter22",
        "AMAZON_ENDPOINT": "http://{}",
        "AMAZON_REGION": "us-east-1",
    },
}


def failing(service: str, address: str) -> dict[str, str]:
    return {name: value.format(address) for name, value in FAILING[service].items()}


@pytest.mark.parametrize("service", FAILING)
def test_a_service_that_nobody_serves_fails(
    service: str, closed: str, make_app: MakeApp
) -> None:
    app = make_app(**failing(service, closed))

    result = invoke(app, "check")

    assert result.exit_code == 1
    (line,) = (item for item in result.output.splitlines() if " failed " in item)
    assert line.split()[:2] == [service, "failed"]
    assert closed in line
    assert line.endswith("Trying again may help.")
    assert "hunter22" not in result.output
    assert "Traceback" not in result.output


def test_every_service_that_can_be_configured_is_tried_here() -> None:
    assert set(FAILING) == {service.name for service in SERVICES} - {"queue"}


def test_a_service_that_fails_keeps_no_other_from_being_asked(
    closed: str, make_app: MakeApp
) -> None:
    app = make_app(SMTP_HOST=closed, REDISTOGO_URL="memory:", MONGOHQ_URL="memory:")

    rows = check_rows(app)

    assert {name: row["status"] for name, row in rows.items()} == {
        "mail": "failed",
        "redis": "ok",
        "mongodb": "ok",
        "amqp": "not configured",
        "amazon": "not configured",
        "queue": "ok",
    }


def test_the_json_check_has_all_facts(closed: str, make_app: MakeApp) -> None:
    app = make_app(SMTP_HOST=closed, REDISTOGO_URL="memory:")

    rows = check_rows(app)

    assert rows["redis"]["address"] == "memory:"
    assert rows["redis"]["error"] is None
    assert rows["mail"]["address"] == closed
    assert rows["mail"]["error"].startswith(f"mail at {closed}: ")
    assert rows["amqp"]["address"] is rows["amqp"]["seconds"] is None
    assert all(0 <= rows[name]["seconds"] < 10 for name in ("redis", "mail"))


def test_the_json_check_exits_with_1_when_a_service_fails(
    closed: str, make_app: MakeApp
) -> None:
    result = invoke(make_app(SMTP_HOST=closed), "check", "--json")

    assert result.exit_code == 1
    assert json.loads(result.stdout)


def test_the_json_check_exits_with_0_when_all_is_well(make_app: MakeApp) -> None:
    result = invoke(make_app(REDISTOGO_URL="memory:"), "check", "--json")

    assert result.exit_code == 0


def test_a_service_whose_library_is_missing_says_how_to_install_it(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(REDISTOGO_URL="memory:")
    for name in [name for name in sys.modules if name.startswith("quorum.engines.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fakeredis", None)

    result = invoke(app, "check")

    assert result.exit_code == 1
    assert "pip install 'quorum-flask[embedded]'" in result.output


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("REDISTOGO_URL", "redis://:hunter22@localhost?socket_timeout=soon"),
        ("REDISTOGO_URL", "redis://:hunter22@localhost?colour=red"),
        ("CLOUDAMQP_URL", "amqp://shop:hunter22@localhost?heartbeat=often"),
        ("CLOUDAMQP_URL", "amqp://shop:hunter22@localhost?colour=red"),
        ("MONGOHQ_URL", "mongodb://"),
    ],
)
def test_a_url_that_the_client_does_not_take_is_a_failure_of_the_variable(
    name: str, url: str, make_app: MakeApp
) -> None:
    app = make_app(**{name: url})

    result = invoke(app, "check")

    assert result.exit_code == 1
    assert " failed " in result.output
    assert name in result.output
    assert "hunter22" not in result.output


def test_a_url_that_allows_one_connection_has_one_for_the_check(
    closed: str, make_app: MakeApp
) -> None:
    app = make_app(REDISTOGO_URL=f"redis://{closed}?max_connections=1")

    result = invoke(app, "check")

    assert "refused" in result.output
    assert "Too many connections" not in result.output


def test_a_profile_that_boto3_does_not_find_is_a_failure(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    app = make_app(AMAZON_BUCKET="shop")

    result = invoke(app, "check")

    assert result.exit_code == 1
    assert re.search("^amazon +failed .*nobody", result.output, re.MULTILINE)


def test_a_bucket_that_cannot_be_is_nothing_to_try_again(
    closed: str, make_app: MakeApp
) -> None:
    app = make_app(**{**failing("amazon", closed), "AMAZON_BUCKET": "a b"})

    result = invoke(app, "check")

    assert result.exit_code == 1
    assert "Invalid bucket name" in result.output
    assert "Trying again may help" not in result.output


# Help, and errors.


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ([], "See what quorum has wired up, and whether it works."),
        (["config"], "Show every variable, its value, and where that came from."),
        (["check"], "Ask every configured service for an answer"),
    ],
    ids=["group", "config", "check"],
)
def test_every_command_has_its_help(
    command: list[str], sentence: str, make_app: MakeApp
) -> None:
    assert sentence in output(make_app(), *command, "--help")


def test_flask_finds_the_commands() -> None:
    (found,) = importlib.metadata.entry_points(group="flask.commands", name="quorum")

    assert found.load() is cli.group


def test_an_app_that_quorum_did_not_load_gets_a_message() -> None:
    result = invoke(flask.Flask("bank"), "config")

    assert result.exit_code == 1
    assert result.output == (
        "Error: The app 'bank' is not loaded. Call quorum.load(app=…) first.\n"
    )


def test_a_bad_value_of_a_variable_declared_late_gets_a_message(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_LATE", "seven")
    app = make_app()
    quorum.variable("SHOP_LATE", int)

    result = invoke(app, "config")

    assert result.exit_code == 1
    assert result.output.startswith("Error: SHOP_LATE (environment): 'seven' is not")


# Flask's own command, in a process of its own.


def test_the_help_needs_no_app(tmp_path: pathlib.Path) -> None:
    done = flask_command(tmp_path, "quorum", "--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert "config  Show every variable" in done.stdout
    assert "check   Ask every configured service" in done.stdout


def test_the_command_lists_the_configuration_of_the_app(program: pathlib.Path) -> None:
    (program / ".env").write_text("PORT=8080\nREDISTOGO_URL=memory:\n")

    done = flask_command(
        program,
        *("--app", "shop", "quorum", "config", "--json"),
        REDIS_URL="redis://:hunter22@localhost",
    )

    assert (done.returncode, done.stderr) == (0, "")
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert (rows["PORT"]["value"], rows["PORT"]["source"]) == (8080, ".env")
    assert rows["REDISTOGO_URL"]["source"] == "environment"
    assert "hunter22" not in done.stdout


def test_the_debug_option_of_flask_is_debug_mode(program: pathlib.Path) -> None:
    done = flask_command(
        program, *("--app", "shop", "--debug", "quorum", "config", "--json"), DEBUG="0"
    )

    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert (rows["DEBUG"]["value"], rows["DEBUG"]["source"]) == (True, "app.config")


def test_warnings_do_not_get_into_the_json(program: pathlib.Path) -> None:
    (program / ".env").write_text("SMTP_PASWORD=hunter22\n")

    done = flask_command(program, *("--app", "shop", "quorum", "config", "--json"))

    assert json.loads(done.stdout)
    assert "Did you mean 'SMTP_PASSWORD'?" in done.stderr
    assert "hunter22" not in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["config", "check"])
def test_an_app_that_cannot_be_loaded_gets_a_message_of_all_problems(
    command: str, program: pathlib.Path
) -> None:
    (program / ".env").write_text("HOST=a b\n")

    done = flask_command(program, *("--app", "shop", "quorum", command), PORT="http")

    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert lines[0] == "Error: 2 configuration problems:"
    assert sorted(line.partition(": ")[0] for line in lines[1:]) == [
        "  - HOST (.env)",
        "  - PORT (environment)",
    ]


def test_an_app_factory_that_cannot_load_gets_a_message(tmp_path: pathlib.Path) -> None:
    (tmp_path / "bank.py").write_text(
        "import flask, quorum\n"
        "def create_app():\n"
        "    return quorum.load(flask.Flask(__name__))\n"
    )

    done = flask_command(
        tmp_path, *("--app", "bank", "quorum", "config"), SMTP_TIMEOUT="0"
    )

    assert done.returncode == 1
    assert done.stderr == (
        "Error: SMTP_TIMEOUT (environment): '0' is not a number of seconds above 0.\n"
    )


def test_an_app_that_misses_a_library_gets_a_message(tmp_path: pathlib.Path) -> None:
    """Flask prints the traceback of an ImportError of the app, if it gets one."""
    (tmp_path / "bank.py").write_text(
        "import sys, quorum\n"
        "sys.modules['dotenv'] = None\n"
        "app = quorum.load(name='bank')\n"
    )
    (tmp_path / ".env").write_text("PORT=8080\n")

    done = flask_command(tmp_path, *("--app", "bank", "quorum", "config"))

    assert done.returncode == 1
    assert done.stderr == (
        "Error: 'python-dotenv' is not installed. "
        "Install it with: pip install 'quorum-flask[dotenv]'.\n"
    )


def test_an_app_with_a_fault_of_its_own_keeps_its_traceback(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "bank.py").write_text("raise ZeroDivisionError('mine')\n")

    done = flask_command(tmp_path, *("--app", "bank", "quorum", "config"))

    assert done.returncode == 1
    assert done.stderr.endswith("ZeroDivisionError: mine\n")
    assert "Traceback" in done.stderr


def test_an_app_of_another_program_gets_a_message(tmp_path: pathlib.Path) -> None:
    (tmp_path / "bank.py").write_text("import flask\napp = flask.Flask('bank')\n")

    done = flask_command(tmp_path, *("--app", "bank", "quorum", "check"))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: The app 'bank' is not loaded.")


@pytest.mark.parametrize(("service", "code"), [("memory:", 0), ("redis://{}", 1)])
def test_the_exit_code_of_the_check_is_that_of_the_command(
    service: str, code: int, program: pathlib.Path, closed: str
) -> None:
    done = flask_command(
        program,
        *("--app", "shop", "quorum", "check"),
        REDISTOGO_URL=service.format(closed),
    )

    assert (done.returncode, done.stderr) == (code, "")


def test_the_time_that_a_service_took_is_told_in_seconds_and_milliseconds(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(REDISTOGO_URL="memory:")
    outputs = []

    for arguments in (["check", "--json"], ["check"]):
        clock = iter([10.0, 12.5, 20.0, 20.0])  # the queue is always asked, too
        monkeypatch.setattr("quorum.cli.time.perf_counter", clock.__next__)
        result = app.test_cli_runner().invoke(cli.group, arguments)
        outputs.append(result.output)

    seconds = {row["service"]: row["seconds"] for row in json.loads(outputs[0])}
    assert seconds["redis"] == 2.5
    assert "2500 ms" in outputs[1]


def test_mail_sends_a_test_message(make_app: MakeApp) -> None:
    app = make_app("shop", SMTP_URL="memory:", SMTP_SENDER="shop@example.org")

    result = invoke(app, "mail", "--to", "ann@example.org", "--to", "bob@example.org")

    (message,) = outbox(app)
    assert message["Subject"] == "Test message of shop"
    assert message.envelope_to == ("ann@example.org", "bob@example.org")
    assert result.exit_code == 0
    assert re.fullmatch(
        r"Sent from shop@example\.org to ann@example\.org, bob@example\.org by "
        rf"memory: in \d\.\d\d s, as {re.escape(message['Message-ID'])}\.\n",
        result.output,
    )


def test_mail_prints_json(make_app: MakeApp) -> None:
    app = make_app(SMTP_URL="memory:")
    options = ("--to", "ann@example.org", "--sender", "Shop <shop@example.org>")

    result = invoke(app, "mail", *options, "--json")

    (message,) = outbox(app)
    sent = json.loads(result.output)
    assert sent.pop("seconds") >= 0
    assert sent == {
        "from": "Shop <shop@example.org>",
        "to": ["ann@example.org"],
        "by": "memory:",
        "message_id": message["Message-ID"],
    }


@pytest.mark.parametrize(
    ("variables", "options", "text"),
    [
        ({}, ["--to", "a@b"], "Error: SMTP_URL (not set): it has no value"),
        ({"SMTP_URL": "memory:"}, ["--to", "a@b"], "Error: sender: there is none."),
        ({"SMTP_URL": "memory:"}, ["--to", "a"], "Error: sender: there is none."),
        (
            {"SMTP_URL": "memory:", "SMTP_SENDER": "a@b"},
            ["--to", "a"],
            "Error: receivers: 'a' is not one address",
        ),
        (
            {"SMTP_URL": "smtp://127.0.0.1:1", "SMTP_SENDER": "a@b"},
            ["--to", "a@b"],
            "Error: mail at 127.0.0.1:1: [Errno 111] Connection refused.",
        ),
    ],
)
def test_mail_that_fails_is_a_message_and_an_exit_code(
    make_app: MakeApp, variables: dict[str, str], options: list[str], text: str
) -> None:
    result = invoke(make_app(**variables), "mail", *options)

    assert result.exit_code == 1
    assert result.output.startswith(text)
