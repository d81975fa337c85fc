"""What ``import quorum`` adds to ``import flask``, in interpreters of its own."""

import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import quorum
from tests.benchmarks.measuring import Chunk, Effort, Row, benchmark, compare

#: Where the quorum of this process is; an isolated interpreter may not find it.
_FOLDER = str(pathlib.Path(quorum.__file__).parents[1])


@benchmark("import")
def measure_imports(effort: Effort) -> Iterator[Row]:
    """Compare the import, and the first use of ``load``; count the modules."""
    limit, ours = _timed("import flask"), _timed("import flask, quorum")
    yield Row("import flask, quorum", compare(ours, limit, effort), "<= 1.05")
    ours = _timed("import flask, quorum; quorum.load")
    yield Row("import flask, quorum; quorum.load", compare(ours, limit, effort))
    for code in ("import quorum", "import quorum; quorum.load"):
        added = find_added_modules(code)
        yield Row(f"modules above flask, {code}", len(added), "<= 25")
        yield Row(f"libraries above flask, {code}", len(find_libraries(added)), "<= 0")


def find_added_modules(code: str) -> set[str]:
    """Return the names of the modules that code imports in a program that has Flask."""
    before = "import flask, json; before = {*sys.modules}"
    shown = "sys.stdout.write(json.dumps([*{*sys.modules} - before]))"
    return set(json.loads(_run(f"{before}; {code}; {shown}")))


def find_libraries(modules: set[str]) -> set[str]:
    """Return the packages among modules that are neither quorum nor Python's own."""
    packages = {module.partition(".")[0] for module in modules}
    return packages - {"quorum"} - sys.stdlib_module_names


def _timed(code: str) -> Chunk:
    shown = "sys.stdout.write(repr(time.process_time() - start))"
    program = f"start = time.process_time(); {code}; {shown}"
    return lambda calls: sum(float(_run(program)) for _ in range(calls))


def _run(program: str) -> str:
    prepared = f"import sys, time; sys.path.insert(0, {_FOLDER!r}); {program}"
    command = [sys.executable, "-I", "-c", prepared]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
