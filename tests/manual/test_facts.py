"""Facts of the manual that are not about variables or names."""

import ast
import configparser
import inspect
import pathlib
import re
import shlex
import subprocess
import sys
import typing as t

import flask
import pytest
from sybil import Sybil
from sybil.parsers.rest import PythonCodeBlockParser

import quorum
from quorum import errors
from quorum.extras import EXTRAS
from quorum.manual import Directive, Page
from tests.processes import clean_environment

ROOT = pathlib.Path(__file__).parent.parent.parent
SOURCE = ROOT / "doc/source"


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
RUN = [item for item in CONSOLES if item.options.get("class") != "not-run"]


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
    words = {"pip", "mkdir", "cd", ".", "python", "python3", "gunicorn", "flask"}
    words |= {"sphinx-build", "PORT=8080", "REDISTOGO_URL=redis://localhost:6379/0"}

    left = [block for block in CONSOLES if block not in RUN]

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


@pytest.mark.parametrize("page", ["README.rst", "doc/source/installation.rst"])
def test_the_lowest_versions_are_those_of_the_package(page: str) -> None:
    text = (ROOT / page).read_text()
    options = _setup()["options"]
    python = options["python_requires"].removeprefix(">=")
    flask = re.findall(r"flask>=([\d.]+)", options["install_requires"])[0]

    assert f"Python {python}" in text
    assert f"Flask {flask}" in text


def test_every_install_sentence_has_the_distributions_name() -> None:
    name = _setup()["metadata"]["name"]
    pages = [ROOT / "README.rst", *SOURCE.rglob("*.rst")]

    told = [
        found
        for page in pages
        for found in re.findall(r"pip install '?([\w-]*quorum[\w-]*)", page.read_text())
    ]

    assert told
    assert set(told) == {name}


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
