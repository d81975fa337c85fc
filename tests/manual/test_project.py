"""The extension on a manual that is not quorum's own."""

import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.processes import clean_environment

PROJECT = pathlib.Path(__file__).parent / "project"


def _build(folder: pathlib.Path) -> subprocess.CompletedProcess[str]:
    options = ["-q", "-n", "-W", "--keep-going", "-E", "-b", "dummy", "doc", "out"]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *options],
        cwd=folder,
        env=clean_environment(PYTHONWARNINGS="default"),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(PROJECT, tmp_path / "project"))


def test_a_manual_that_agrees_builds(project: pathlib.Path) -> None:
    done = _build(project)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "code"),
    [
        ("doc/index.rst", "``'EUR'``", "``'USD'``", "config-default"),
        ("doc/index.rst", ".. confval:: SHOP_TOKEN", "", "config-undocumented"),
        ("shop/settings.py", "EUR", "GBP", "config-value"),
        ("shop/settings.py", "secret=True, ", "", "config-secret"),
        (
            "shop/settings.py",
            "class",
            'import os\nos.getenv("X")\nclass',
            "config-read",
        ),
    ],
)
def test_a_disagreement_fails_the_build(
    project: pathlib.Path, file: str, old: str, new: str, code: str
) -> None:
    path = project / file
    path.write_text(path.read_text().replace(old, new, 1))

    done = _build(project)

    assert done.returncode != 0
    assert f"[quorum.{code}]" in done.stderr


def test_quorums_own_variables_are_no_business_of_the_project(
    project: pathlib.Path,
) -> None:
    path = project / "shop" / "settings.py"
    path.write_text(f"import quorum.loading\n{path.read_text()}")

    done = _build(project)

    assert done.returncode == 0, done.stderr


def test_a_module_that_cannot_be_imported_is_named(project: pathlib.Path) -> None:
    path = project / "doc" / "conf.py"
    path.write_text(path.read_text().replace("shop.settings", "shop.nothing"))

    done = _build(project)

    assert done.returncode != 0
    assert "'shop.nothing' cannot be imported" in done.stderr
