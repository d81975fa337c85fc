"""Pages that somebody follows who has just found them, from an empty folder on."""

import contextlib
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator, Mapping

import pytest

from quorum.manual import Directive, Page
from tests.manual.walker import (
    ROOT,
    SOURCE,
    Walker,
    WalkError,
    build_wheel,
    copy_source,
    find_tools,
    fits,
    read_block,
)
from tests.processes import clean_environment, free_port, get

EXAMPLE = ROOT / "examples" / "tutorial"
TUTORIAL = ["tutorial.rst", "tutorial-models.rst"]


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Return an environment with a Python that has nothing installed."""
    return find_tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture(scope="module")
def index(
    tools: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, str]:
    """Return that environment; pip finds this quorum as it finds all the rest."""
    return build_wheel(tmp_path_factory.mktemp("index"), tools)


def make_walker(
    folder: pathlib.Path, env: Mapping[str, str], **options: float
) -> Walker:
    first, second = str(free_port()), str(free_port())
    names = {"5000": first, "8080": second}
    return Walker(folder, {**env, "PORT": first}, names, **options)


@pytest.fixture
def walker(tmp_path: pathlib.Path, index: Mapping[str, str]) -> Iterator[Walker]:
    walker = make_walker(tmp_path, index)
    with contextlib.closing(walker):
        yield walker


def page_of(name: str) -> Page:
    return Page(str(SOURCE / name))


def without_servers(block: Directive) -> bool:
    return "servers" not in block.options.get("class", "").split()


@pytest.mark.parametrize("name", ["installation.rst", "quickstart.rst"])
def test_a_page_does_what_it_says(walker: Walker, name: str) -> None:
    walker.walk(page_of(name))


def test_the_tutorial_does_what_it_says(walker: Walker) -> None:
    """What needs servers is left to the tests that have them."""
    for name in TUTORIAL:
        walker.walk(page_of(name), without_servers)


def test_the_tutorial_ends_with_the_example() -> None:
    files: dict[str, list[str]] = {}
    for name in TUTORIAL:
        for block in page_of(name).directives:
            if "caption" in block.options and block.argument != "console":
                files.setdefault(block.options["caption"], []).append(read_block(block))
    servers = files["newsletter/.env"].pop()

    paths = [path for path in EXAMPLE.rglob("*") if path.is_file()]
    names = {str(path.relative_to(EXAMPLE)): path.read_text() for path in paths}
    steps = {name for name in names if name.startswith("steps/")}
    compiled = {name for name in names if "__pycache__" in name}
    assert {name: texts[-1] for name, texts in files.items()} == {
        name: names[name] for name in set(names) - steps - compiled
    }
    compose = (ROOT / "compose.yaml").read_text()
    for address in re.findall("//(.+:[0-9]+)", servers):
        assert address in compose


def test_the_readme_does_what_it_says(
    tmp_path: pathlib.Path, tools: Mapping[str, str]
) -> None:
    """Only apt-get does nothing here."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "apt-get").symlink_to(shutil.which("true") or "")
    walker = make_walker(
        copy_source(tmp_path / "quorum"),
        {**tools, "PATH": f"{programs}:{tools['PATH']}"},
    )
    block = next(
        block
        for block in Page(str(ROOT / "README.rst")).directives
        if block.argument == "console"
    )

    with contextlib.closing(walker):
        walker.follow(
            block._replace(
                options={"class": "serves"},
                body=f"{block.body}\n...\nPress CTRL+C to quit",
            )
        )
        page = get(f"http://127.0.0.1:{walker.names['5000']}/")

    assert "<h1>Hello, world!</h1>" in page


#: A lie in the quick start, the text of the line that is complained of, and how.
LIES = [
    ("<h1>Hello, &lt;", "<h1>Hello, <", "   :caption: Another", "<h1>Hello, &lt;"),
    ("$ python app.py", "$ python main.py", "python main.py", "can't open file"),
    ("   :caption: app.py\n", "", "$ python app.py", "can't open file"),
    ("$ cd hello", "$ cd hallo", "$ mkdir", "No such file or directory"),
    ("on http://127.0.0.1:5000", "on http://127.0.0.1:1", "$ python app", "Running"),
    ("$ python app.py\n   ...", "$ echo\n   ...", "$ echo", "the terminal shows"),
    ("$ cd hello", "$ pip install nothing", "$ mkdir", "pip is "),
    (":5000/?visitor", ":5000/.../", "   :caption: Another", "nothing was shown that"),
    (
        ":class: serves\n\n   $ PORT",
        ":class: not-run\n\n   $ PORT",
        "$ PORT",
        "not run",
    ),
]


@pytest.mark.parametrize(("old", "new", "line", "fault"), LIES)
def test_a_lie_is_found(
    tmp_path: pathlib.Path, old: str, new: str, line: str, fault: str
) -> None:
    text = page_of("quickstart.rst").text
    text = re.sub(r"   \$ (python3 -m venv|\. |pip ).*\n", "", text)
    assert old in text
    text = text.replace(old, new, 1)
    (tmp_path / "page.rst").write_text(text)
    path = f"{pathlib.Path(sys.executable).parent}:/usr/bin:/bin"
    env = clean_environment(PATH=path, CURL_HOME=str(tmp_path))
    walker = make_walker(tmp_path, env, patience=8)

    with contextlib.closing(walker), pytest.raises(WalkError) as info:
        walker.walk(Page(str(tmp_path / "page.rst")))

    start = text.rindex(".. ", 0, text.index(line))
    number = text.count("\n", 0, start) + 1
    assert f"page.rst:{number}: " in str(info.value)
    assert fault in str(info.value)


@pytest.mark.parametrize(
    ("shown", "told", "good"),
    [
        ("a\nb\n", "a\nb", True),
        ("a\nb\n", "a", False),
        ("a\n", "a\n...", True),
        ("a\nb\nc\n", "a\n...\nc", True),
        ("a 17 b\n", "a ... b", True),
        ("a 17 b\nc\n", "a ... b", False),
        ("a   b\n", "a     b", True),
        ("a b\n", "a  b", False),
        ("a.b\n", "a.c", False),
    ],
)
def test_dots_stand_for_anything(shown: str, told: str, good: bool) -> None:
    assert fits(shown, told) is good


def test_what_is_new_in_a_file_is_what_stands_out(tmp_path: pathlib.Path) -> None:
    first = ".. code-block:: ini\n   :caption: a.ini\n\n   A=1\n\n"
    second = first.replace("A=1", "A=1\n   B=2")
    page = tmp_path / "page.rst"
    walker = make_walker(tmp_path, clean_environment())

    page.write_text(first + second.replace("ini\n", "ini\n   :emphasize-lines: 2\n", 1))
    walker.walk(Page(str(page)))
    (tmp_path / "a.ini").unlink()
    page.write_text(first + second)
    with pytest.raises(WalkError, match=r"page\.rst:6: lines \[2\] are new"):
        walker.walk(Page(str(page)))
