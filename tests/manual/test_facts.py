"""Facts of the manual that are not about variables or names."""

import ast
import configparser
import datetime
import inspect
import logging
import pathlib
import re
import shlex
import smtplib
import subprocess
import sys
import typing as t

import flask
import pytest
from dramatiq.brokers import redis as redis_broker
from sybil import Sybil
from sybil.parsers.rest import PythonCodeBlockParser

import quorum
from quorum import errors, parsers, processes, queues
from quorum import state as states
from quorum.cli import group
from quorum.config import SHARED_NAMES, SPELLINGS, VARIABLES
from quorum.engines import brokers, dramatiq
from quorum.extras import EXTRAS
from quorum.loading import _SERVERS, SERVICES
from quorum.logs import JSONFormatter, Redactor, TextFormatter
from quorum.manual import Code, Directive, Page
from quorum.queues import QueueSettings
from quorum.sources import Sources
from quorum.sphinxext import Confval
from tests.processes import clean_environment

ROOT = pathlib.Path(__file__).parent.parent.parent
SOURCE = ROOT / "doc/source"
#: Pages that name things which are not quorum's.
OF_OTHERS = {"changelog", "others", "upstream"}


def _pages() -> list[Page]:
    return [Page(str(path)) for path in sorted(SOURCE.rglob("*.rst"))]


def _setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


CONSOLES = [
    directive
    for page in _pages()
    for directive in page.directives
    if directive.name == "code-block" and directive.argument == "console"
]
#: Pages whose blocks tests.manual.test_walks runs, one after the other.
WALKED = ("installation", "quickstart", "tutorial", "tutorial-models")
ALONE = [item for item in CONSOLES if pathlib.Path(item.place.file).stem not in WALKED]
RUN = [item for item in ALONE if item.options.get("class") != "not-run"]


#: The variables that the examples declare.
OF_EXAMPLES = {name for name, _ in Code([str(ROOT / "examples")]).calls("variable")}


def _title(directive: Directive) -> str:
    return f"{pathlib.Path(directive.place.file).stem}-{directive.place.line}"


@pytest.mark.parametrize("block", RUN, ids=_title)
def test_a_console_block_shows_what_is_printed(block: Directive) -> None:
    first, _, shown = block.body.partition("\n")
    assert first.startswith("$ flask "), "let it be ':class: not-run', or a command"
    arguments = shlex.split(first.removeprefix("$ flask "))

    done = subprocess.run(
        [sys.executable, "-m", "flask", *arguments],
        cwd=ROOT / "examples",
        env=clean_environment(COLUMNS="80"),
        capture_output=True,
        text=True,
        check=False,
    )

    # 'python -m flask' calls itself so, and 'flask' calls itself 'flask'.
    printed = done.stdout.replace("python -m flask", "flask")
    assert printed.rstrip() == shown.rstrip()


def test_some_console_blocks_are_run() -> None:
    assert len(RUN) >= 3


def test_console_blocks_that_are_not_run_install_or_serve() -> None:
    words = {".", "cd", "pip", "python3", "sphinx-build"}
    words |= {"export", "flask", "gunicorn", "python"}

    left = [block for block in ALONE if block not in RUN]

    for block in left:
        commands = re.findall(r"^\$ (\S+)", block.body, re.MULTILINE)
        assert commands
        assert set(commands) <= words, block.place


def test_the_python_of_the_readme_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "examples" / "hello")
    document = Sybil([PythonCodeBlockParser()]).parse(ROOT / "README.rst")
    namespace: dict[str, t.Any] = document.namespace
    namespace["__name__"] = "readme"

    for example in document.examples():
        example.evaluate()

    app: flask.Flask = namespace["app"]
    assert "/" in [rule.rule for rule in app.url_map.iter_rules()]
    assert quorum.APP is app


def test_the_readme_has_the_two_commands() -> None:
    page = Page(str(ROOT / "README.rst"))

    blocks = [item.body for item in page.directives if item.argument == "console"]

    assert len(blocks) == 2
    assert all(block.count("\n") == 0 for block in blocks)
    assert "python examples/hello/app.py" in blocks[0]
    assert "tox -e py311,bare,manual" in blocks[1]


def test_the_extras_are_those_of_the_package() -> None:
    text = (SOURCE / "installation.rst").read_text()
    extras = set(_setup()["options.extras_require"]) - {"docs", "test"}

    told = set(re.findall(r"^   \* - ``(\w+)``", text, re.MULTILINE))

    assert told == extras
    assert {extra for _, extra in EXTRAS.values()} < extras


@pytest.mark.parametrize(
    "page",
    ["README.rst", "doc/source/installation.rst", "doc/source/changelog.rst"],
)
def test_the_lowest_versions_are_those_of_the_package(page: str) -> None:
    text = (ROOT / page).read_text()
    options = _setup()["options"]
    python = options["python_requires"].removeprefix(">=")
    flask = re.findall(r"flask>=([\d.]+)", options["install_requires"])[0]

    assert f"Python {python}" in text
    assert f"Flask {flask}" in text


def test_every_install_sentence_has_the_distributions_name() -> None:
    name = _setup()["metadata"]["name"]
    others = {".", "../quorum", "tox", "pytest"}
    pages = [ROOT / "README.rst", *SOURCE.rglob("*.rst")]

    told = [
        re.sub(r"\[.*\]", "", word)
        for page in pages
        for words in re.findall(r"pip install ([^`\n&]+)", page.read_text())
        for word in shlex.split(words.rstrip("."))
    ]

    assert name in told
    assert set(told) - others == {name}


def test_the_tree_of_errors_is_the_one_of_the_code() -> None:
    text = (SOURCE / "errors.rst").read_text()
    tree = text[text.index("   QuorumError\n") : text.index("The clients that")]

    told: dict[str, tuple[str, list[str]]] = {}
    above: dict[int, str] = {}
    for line in tree.strip("\n").splitlines():
        match = re.search(r"(\w+Error)(?: \((\w+)\))?$", line)
        if match:
            depth = match.start() // 4
            above[depth] = match[1]
            told[match[1]] = (above.get(depth - 1, ""), [match[2]] if match[2] else [])

    real: dict[str, tuple[str, list[str]]] = {}
    for name, item in vars(errors).items():
        if inspect.isclass(item) and issubclass(item, errors.QuorumError):
            bases = [base.__name__ for base in item.__bases__]
            ours = [base for base in bases if base in vars(errors)]
            parent = ours[0] if ours else ""
            others = [base for base in bases if base not in (parent, "Exception")]
            real[name] = (parent, others)
    assert told == real


def test_the_design_names_every_module() -> None:
    text = (SOURCE / "design.rst").read_text()
    modules = {path.stem for path in (ROOT / "quorum").glob("*.py")} - {"__init__"}

    assert {name for name in modules if f"``{name}``" not in text} == set()


def test_the_settings_of_the_extension_are_documented() -> None:
    source = (ROOT / "quorum" / "sphinxext.py").read_text()
    tree = ast.parse(source)
    text = (SOURCE / "howto" / "documenting.rst").read_text()
    docstring = ast.get_docstring(tree) or ""
    settings = set(re.findall(r"^``(quorum_\w+)``$", docstring, re.MULTILINE))

    assert settings == set(re.findall(r"config\.(quorum_\w+)", source))
    assert settings == set(re.findall(r"^   \* - ``(quorum_\w+)``", text, re.MULTILINE))


def test_what_was_tested_is_what_the_tests_start() -> None:
    text = (SOURCE / "howto" / "services.rst").read_text()
    script = (ROOT / "tests" / "install_servers").read_text()

    assert "FerretDB 1.24" in text
    assert "v1.24.2" in script


def _told(page: str) -> str:
    return (SOURCE / page).read_text()


def test_the_entries_of_parsers_say_what_the_parsers_say() -> None:
    page = Page(str(SOURCE / "api.rst"))
    entries = {item.argument: item for item in page.directives if item.name == "data"}

    for name, parser in vars(parsers).items():
        if isinstance(parser, parsers.Parser):
            entry, kind = entries[name], parser.function.__annotations__["return"]
            assert re.split("[;.] ", entry.body.lower())[0] == parser.expects.lower()
            shown = kind.__name__ if isinstance(kind, type) else str(kind)
            assert entry.options["type"] == f"Parser[{shown}]"


def test_names_of_quorum_in_the_text_are_names_that_there_are() -> None:
    files = {"json"}  # quorum.json
    for page in _pages():
        if pathlib.Path(page.file).stem in OF_OTHERS:
            continue
        for name, place in page.search(r"``quorum\.(\w+)"):
            assert name in {*dir(quorum), "errors", *files} or hasattr(quorum, name), (
                place
            )


def test_variables_in_the_text_are_variables_that_there_are() -> None:
    secret = {f"{name}_FILE" for name, item in SPELLINGS.items() if item.secret}
    own = {"SHOP_CURRENCY", "SHOP_TOKEN", "SHOP_RETRIES", *OF_EXAMPLES}
    flasks = {"TESTING", "MAX_CONTENT_LENGTH", "PERMANENT_SESSION_LIFETIME"}
    flasks |= {"SERVER_NAME", "SESSION_COOKIE_SECURE", "SESSION_COOKIE_SAMESITE"}
    flasks |= {"SESSION_REFRESH_EACH_REQUEST", "SECRET_KEY_FALLBACKS"}
    others = {"CI", "INFO", "HTML", "XML", "TRUE"}
    known = {*SPELLINGS, *secret, *own, *flasks, *others}

    for page in _pages():
        if pathlib.Path(page.file).stem in OF_OTHERS - {"changelog"}:
            continue
        for name, place in page.search(r"``([A-Z][A-Z0-9_]+)(?:=[^`]*)?``"):
            assert name in known, place


def test_extras_in_the_text_are_extras_that_there_are() -> None:
    extras = set(_setup()["options.extras_require"])
    for page in _pages():
        for names, place in page.search(r"quorum-flask\[([\w,]+)\]"):
            assert set(names.split(",")) <= extras, place
        for name, place in page.search(r":term:`extra` ``(\w+)``"):
            assert name in extras, place


def test_addresses_in_the_text_have_the_default_port() -> None:
    port = VARIABLES["PORT"].default
    pages = ["README.rst", "doc/source/quickstart.rst", "doc/source/tutorial.rst"]
    for page in pages:
        text = (ROOT / page).read_text()
        chosen = set(re.findall(r"\$ PORT=(\d+) ", text))
        assert set(re.findall(r"http://127\.0\.0\.1:(\d+)", text)) - chosen == {
            str(port)
        }


def test_what_a_console_sets_are_variables() -> None:
    for block in CONSOLES:
        for name in re.findall(r"^\$.* ?\b([A-Z_]{3,})=", block.body, re.MULTILINE):
            assert name in {*SPELLINGS, *OF_EXAMPLES}, block.place


def test_the_time_limit_in_the_text_is_the_one_of_every_service() -> None:
    limits = {item.default for name, item in VARIABLES.items() if "_TIMEOUT" in name}

    (limit,) = limits
    assert f"The default is {limit:g}." in _told("howto/services.rst")


def test_the_table_of_services_is_the_one_of_the_code() -> None:
    rows = re.findall(
        r"   \* - .+\n     - :confval:`(\w+)`\n     - :func:`quorum\.(\w+)`",
        _told("howto/services.rst"),
    )

    told = dict(rows)
    real = {item.settings.location.name for item in SERVICES}
    assert set(told) == real
    for variable, function in rows:
        home = t.cast(t.Any, inspect.getmodule(getattr(quorum, function)))
        assert home.SERVICE.settings.location.name == variable


def test_what_configures_a_service_is_told() -> None:
    text = _told("commands.rst")
    sentence = text[text.index("depends on one variable:") :].partition("\n")[0]

    told = re.findall(r":confval:`(\w+)`", sentence)

    assert sorted(told) == sorted(item.settings.location.name for item in SERVICES)


def test_options_of_commands_in_the_text_are_options_that_there_are() -> None:
    options = {
        option
        for command in group.commands.values()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("-")
    }
    told = set(re.findall(r"``(--[\w-]+)``", _told("commands.rst")))

    assert told == options


def test_the_order_of_sources_is_the_one_of_the_code() -> None:
    names = [source.name for source in Sources(flask.Flask("shop"), {}).sources]
    text = _told("howto/configuring.rst")
    steps = re.findall(r"^#\. (.+)", text, re.MULTILINE)

    assert len(steps) == len(names) + 1
    for step, name in zip(steps, [*names, "default"], strict=True):
        assert name in step


def test_the_names_that_others_use_are_told() -> None:
    text = _told("howto/configuring.rst")
    sentence = re.findall(
        r"^(.+) are names that other programs use", text, re.MULTILINE
    )[0]

    assert set(re.findall("``([A-Z]+)``", sentence)) == SHARED_NAMES


def test_the_log_records_in_the_text_are_what_is_written() -> None:
    page = Page(str(SOURCE / "howto/logging.rst"))
    blocks = {item.argument: item.body for item in page.directives}
    identifier = re.findall(r"\[(\w{32})\]", blocks["text"])[0]
    made = datetime.datetime(2026, 4, 24, 9, 30, 0, 123000, datetime.UTC).timestamp()
    facts = {"name": "quorum", "levelname": "INFO", "created": made, "msecs": 123.0}

    text = logging.makeLogRecord(
        {**facts, "msg": "Order 17 was paid.", "request_id": identifier}
    )
    line = logging.makeLogRecord(
        {**facts, "msg": "Order was paid.", "request_id": "-", "order": 17}
    )

    assert TextFormatter(Redactor([])).format(text) == blocks["text"]
    assert JSONFormatter(Redactor([])).format(line) == blocks["json"]
    assert "``X-Request-ID``" in page.text
    assert "if they have six characters or more" in page.text
    assert Redactor(["12345", "abcdef"])("12345 abcdef") == "12345 ***"


def test_examples_are_shown_as_they_are() -> None:
    for page in _pages():
        for item in page.directives:
            if item.name == "literalinclude":
                shown_whole = {"language", "caption", "emphasize-lines"}
                assert set(item.options) <= shown_whole, item.place
                caption = item.options.get("caption", item.argument)
                argument = item.argument.removesuffix(".txt")
                assert argument.endswith(caption), item.place


def test_the_licence_is_one() -> None:
    assert _setup()["metadata"]["license_expression"] == "Apache-2.0"
    assert "Apache License\n" in (ROOT / "LICENSE").read_text()
    for path in ("README.rst", "doc/source/changelog.rst"):
        assert "Apache License 2.0" in (ROOT / path).read_text()


def test_what_the_changelog_calls_new_is_of_that_version() -> None:
    text = _told("changelog.rst")
    top = text[text.index(quorum.__version__) : text.index("0.1.7")]

    for name in re.findall(r":confval:`(\w+)`", top):
        assert VARIABLES[name].since == quorum.__version__


def test_the_options_of_a_confval_are_documented() -> None:
    text = _told("howto/documenting.rst")
    told = set(re.findall(r"^   \* - ``:([\w-]+):", text, re.MULTILINE))

    assert told == {name for name in Confval.option_spec if not name.startswith("no")}
    assert "sphinx-build -n -W" in text


def test_nothing_in_the_settings_of_the_manual_looks_away() -> None:
    text = (ROOT / "doc" / "conf.py").read_text()

    assert re.findall(r"^(nitpick\w*) = (.+)", text, re.MULTILINE) == [
        ("nitpicky", "True")
    ]
    assert re.findall(r"^suppress_warnings = (.+)", text, re.MULTILINE) == [
        '["epub.unknown_project_files"]'
    ]
    assert "doctest_test_doctest_blocks" not in text
    assert "exclude_patterns" not in text


def test_the_servers_in_the_docstring_of_run_are_the_servers_there_are() -> None:
    assert set(re.findall("``'(\\w+)'``", quorum.run.__doc__ or "")) == set(_SERVERS)


def test_numbers_and_keys_in_the_text_are_those_of_the_code() -> None:
    assert f"and is {smtplib.SMTP_PORT} without one" in _told("configuration.rst")
    assert f'``app.extensions["{states.KEY}"]``' in _told("design.rst")
    assert "{1,128}" in states._WELL_FORMED.pattern
    assert "of 1 to 128 ASCII" in (quorum.get_request_id.__doc__ or "")


def test_the_numbers_of_background_work_are_those_of_the_code() -> None:
    text = _told("howto/reliability.rst")

    assert f"every {brokers.OverRedis.idle} milliseconds" in text
    assert f"gave none for {brokers._DEAD // 1000} seconds" in text
    assert f"in slices of {dramatiq._SLICE / 60:g} minutes" in text
    assert f"is away for {dramatiq._PATIENCE} seconds" in text
    assert redis_broker.DEFAULT_DEAD_MESSAGE_TTL == 7 * 24 * 3600 * 1000
    assert redis_broker.DEFAULT_HEARTBEAT_TIMEOUT == 60_000
    assert "deleted after seven days" in text
    assert QueueSettings({"QUEUE_URL": parsers.URL("thread:")}).workers == 4
    assert "run in four threads" in _told("howto/background.rst")
    assert queues._LONGEST_BACKOFF == 3600
    assert "None is longer than an hour" in _told("configuration.rst")
    assert processes._PAUSE == 1
    assert "is replaced after a second" in _told("commands.rst")


def test_paths_in_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.rst").read_text()

    paths = re.findall(r"``([\w./]+/[\w./]*)``", text)

    assert paths
    assert all((ROOT / path).exists() for path in paths)
