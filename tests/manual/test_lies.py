"""Every check of the manual is shown to fail on a planted lie, and on that alone."""

import concurrent.futures
import os
import pathlib
import queue
import re
import shutil
import subprocess
import sys
import typing as t

import pytest

from tests.manual.lies import FALSE_EXAMPLES, LIES, Lie

ROOT = pathlib.Path(__file__).parent.parent.parent
PARTS = ("quorum", "doc", "examples", "tests")

#: What has no file and line of its own in Sphinx's warnings.
_WARNING = re.compile(r"^(.*?):(\d+): WARNING: .* \[(?:quorum\.)?([\w.-]+)\]$")


class Result(t.NamedTuple):
    """What a build came to: its exit code, and its warnings."""

    status: int
    output: str
    warnings: list[tuple[str, int, str]]


class Planted(t.NamedTuple):
    """What a build of a lie came to, and the file and line that it has to name."""

    result: Result
    place: tuple[str, int]


def copy_project(folder: pathlib.Path) -> None:
    skip = shutil.ignore_patterns("__pycache__", "build", "_build")
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=skip)


def build(
    folder: pathlib.Path,
    builder: str,
    *more: str,
    read_all: bool = True,
    **env: str,
) -> Result:
    """Build the manual of a copy, and say what Sphinx warned of."""
    options = ["-q", "-n", "-W", "--keep-going", "-c", "doc", "-b", builder]
    options += ["-E"] if read_all else []
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, *more, "doc/source", "out"],
        cwd=folder,
        env={
            **kept,
            "PYTHONPATH": str(folder),
            "PYTHONWARNINGS": "ignore",
            "NO_COLOR": "1",
            **env,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    warnings = [
        (os.path.relpath(file, folder.resolve()), int(line), code)
        for file, line, code in re.findall(_WARNING.pattern, done.stderr, re.MULTILINE)
    ]
    return Result(done.returncode, done.stdout + done.stderr, warnings)


def _plant(lie: Lie, folder: pathlib.Path) -> None:
    path = folder / lie.file
    text = path.read_text()
    assert lie.old in text, f"{lie.old!r} is not in {lie.file}"
    path.write_text(text.replace(lie.old, lie.new, 1))


def _place(lie: Lie, folder: pathlib.Path) -> tuple[str, int]:
    """Return the file and line that the warning has to point to."""
    file = lie.where_file or lie.file
    text = (folder / file).read_text()
    new = lie.new.strip("\n") if lie.new.strip() else lie.old
    where = lie.where or new.splitlines()[0]
    return file, text[: text.index(where)].count("\n") + 1


def _build_in(folders: "queue.SimpleQueue[pathlib.Path]", lie: Lie) -> Planted:
    """Build one lie, starting from what a build of the truth has left."""
    folder = folders.get()
    try:
        shutil.rmtree(folder / "out", ignore_errors=True)
        shutil.copytree(folder / "truth", folder / "out")
        _plant(lie, folder)
        builder = "dummy" if lie.code else "doctest"
        result = build(folder, builder, "-d", "out", read_all=False)
        return Planted(result, _place(lie, folder))
    finally:
        shutil.copy2(ROOT / lie.file, folder / lie.file)
        folders.put(folder)


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[Lie, Planted]:
    """Build every lie, as many at once as there are processors.

    Most of the manual need not be read again for that.
    """
    count = os.cpu_count() or 1
    folders: queue.SimpleQueue[pathlib.Path] = queue.SimpleQueue()
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        for _ in range(count):
            folder = tmp_path_factory.mktemp("lies")
            copy_project(folder)
            assert build(folder, "dummy", "-d", "truth").status == 0
            folders.put(folder)
        lies = LIES + FALSE_EXAMPLES
        return dict(
            zip(lies, pool.map(lambda lie: _build_in(folders, lie), lies), strict=True)
        )


def _title(lie: Lie) -> str:
    return f"{lie.code or 'example'}-{lie.file.rpartition('/')[2]}"


def test_the_truth_builds_without_a_warning(tmp_path: pathlib.Path) -> None:
    copy_project(tmp_path)

    for builder in ("dummy", "doctest"):
        result = build(tmp_path, builder, CI="true")

        assert result.status == 0, result.output


@pytest.mark.parametrize("lie", LIES, ids=_title)
def test_a_lie_is_found_where_it_is(lie: Lie, planted: dict[Lie, Planted]) -> None:
    result, place = planted[lie]

    assert result.status != 0, result.output
    assert result.warnings == [(*place, lie.code)], result.output


@pytest.mark.parametrize("lie", FALSE_EXAMPLES, ids=_title)
def test_a_false_example_fails(lie: Lie, planted: dict[Lie, Planted]) -> None:
    result, _ = planted[lie]

    assert result.status != 0
    assert "Failed example" in result.output


def test_an_example_that_is_skipped_fails_in_ci(tmp_path: pathlib.Path) -> None:
    lie = Lie(
        "example-skipped",
        "doc/source/howto/services.rst",
        ".. doctest:: memory\n",
        ".. doctest:: memory\n   :skipif: True\n",
        ".. doctest:: memory",
    )

    copy_project(tmp_path)
    _plant(lie, tmp_path)

    on_a_laptop = build(tmp_path, "doctest")  # a server may be missing there
    found = build(tmp_path, "doctest", CI="true")

    assert on_a_laptop.status == 0
    assert found.status != 0
    assert [code for _, _, code in found.warnings] == ["example-skipped"]


def test_a_release_may_plan_nothing(tmp_path: pathlib.Path) -> None:
    copy_project(tmp_path)
    page = tmp_path / "doc/source/api.rst"
    text = page.read_text()
    line = text.count("\n") + 2
    page.write_text(f"{text}\n.. planned::\n\n   More is to come.\n")

    found = build(tmp_path, "dummy", "-D", "quorum_release=1")

    assert found.status != 0
    assert ("doc/source/api.rst", line, "release-planned") in found.warnings
    assert {code for _, _, code in found.warnings} == {"release-planned"}


def test_a_parallel_build_finds_the_same(tmp_path: pathlib.Path) -> None:
    copy_project(tmp_path)
    _plant(LIES[0], tmp_path)

    found = build(tmp_path, "dummy", "-j2")

    assert found.status != 0
    assert [code for _, _, code in found.warnings] == ["config-type"]


def test_an_incremental_build_sees_a_lie_of_the_code(tmp_path: pathlib.Path) -> None:
    copy_project(tmp_path)

    first = build(tmp_path, "dummy")
    path = tmp_path / "quorum" / "loading.py"
    path.write_text(path.read_text().replace("default=5000", "default=8000"))
    second = build(tmp_path, "dummy", read_all=False)

    assert first.status == 0, first.output
    assert [code for _, _, code in second.warnings] == ["config-default"]


def test_every_check_has_a_lie_and_an_entry_in_the_manual() -> None:
    source = "".join(
        (ROOT / "quorum" / f"{name}.py").read_text()
        for name in ("manual", "reference", "sphinxext")
    )
    codes = set(re.findall(r'Finding\(\s*f?"([a-z]+-[a-z{}-]+)"', source))
    codes.discard("config-{fact}")
    facts = re.findall(r'^        \("(\w+)", ', source, re.MULTILINE)
    codes |= {f"config-{fact}" for fact in facts}
    page = (ROOT / "doc/source/checks.rst").read_text()

    shown = {lie.code for lie in LIES if "." not in lie.code} | {
        "example-skipped",
        "release-planned",
    }
    told = set(re.findall(r"^   \* - ``([\w-]+)``", page, re.MULTILINE))

    assert len(codes) > 20
    assert shown == codes
    assert told == codes
