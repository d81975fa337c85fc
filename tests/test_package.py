import ast
import json
import pathlib
import subprocess
import sys

import pytest

import quorum
from tests.processes import clean_environment

PACKAGE = pathlib.Path(quorum.__file__).parent

#: What a fresh interpreter prints: the modules that the lines above it imported.
REPORT = """
import json, sys
new = {name for name in sys.modules if name not in before}
print(json.dumps(sorted(new)))
"""


def run(program: str) -> str:
    """Return what a program prints in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clean_environment(PYTHONPATH=str(PACKAGE.parent)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported_by(lines: str, after: str = "") -> set[str]:
    """Return the modules that lines import which follow others."""
    start = f"{after}\nimport sys\nbefore = set(sys.modules)\n"
    found: list[str] = json.loads(run(f"{start}{lines}{REPORT}"))
    return set(found)


def tops(modules: set[str]) -> set[str]:
    """Return the packages of modules, without those of Python itself."""
    return {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names)


def reexports() -> dict[str, str]:
    """Return the module of each name that type checkers are shown."""
    found: dict[str, str] = {}
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    for node in block.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert alias.asname == alias.name, "a re-export is 'x as x'"
                found[alias.name] = str(node.module)
        elif isinstance(node, ast.AnnAssign):
            found[ast.unparse(node.target)] = "quorum"
    return found


def test_type_checkers_are_shown_every_public_name_and_no_other() -> None:
    assert set(reexports()) == {*quorum.__all__, *quorum._LATE}


def test_no_public_name_is_listed_twice() -> None:
    assert len(set(quorum.__all__)) == len(quorum.__all__)


def test_every_name_of_the_table_is_public_and_every_other_is_a_module_or_app() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")}

    public = {*quorum.__all__, *quorum._LATE}
    assert set(quorum._HOME_OF) <= public
    assert public - set(quorum._HOME_OF) - modules == {"APP"}


def test_no_name_stands_in_the_table_twice() -> None:
    names = [name for names in quorum._HOMES.values() for name in names.split()]

    assert sorted(names) == sorted(quorum._HOME_OF)


@pytest.mark.parametrize("name", sorted(quorum._HOME_OF))
def test_type_checkers_are_shown_the_name_of_the_same_module(name: str) -> None:
    assert reexports()[name] == f"quorum.{quorum._HOME_OF[name]}"


@pytest.mark.parametrize("name", sorted(quorum._HOME_OF))
def test_every_name_is_the_object_of_its_module(name: str) -> None:
    found = getattr(quorum, name)

    assert found is getattr(sys.modules[f"quorum.{quorum._HOME_OF[name]}"], name)


@pytest.mark.parametrize("name", sorted(set(quorum.__all__) - {"APP"}))
def test_every_name_has_a_docstring_whose_first_line_ends_with_a_full_stop(
    name: str,
) -> None:
    documentation = getattr(quorum, name).__doc__

    assert documentation
    assert documentation.splitlines()[0].endswith(".")


def test_every_public_name_is_listed_by_dir() -> None:
    assert {*quorum.__all__, *quorum._LATE} <= set(dir(quorum))
    assert "__version__" in dir(quorum)


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError) as caught:
        quorum.nothing  # noqa: B018

    assert str(caught.value) == "module 'quorum' has no attribute 'nothing'"


def test_an_unknown_attribute_has_its_default() -> None:
    assert getattr(quorum, "nothing", 5) == 5
    assert not hasattr(quorum, "_nothing")


def test_an_unknown_name_cannot_be_imported() -> None:
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from quorum import nothing")


def test_the_import_imports_nothing_but_itself() -> None:
    assert tops(imported_by("import quorum")) == {"quorum"}


def test_the_import_imports_no_other_module_of_quorum() -> None:
    modules = imported_by("import quorum")

    assert {name for name in modules if name.startswith("quorum")} == {"quorum"}


def test_the_version_and_dir_import_no_other_module_of_quorum() -> None:
    modules = imported_by("import quorum; quorum.__version__; dir(quorum)")

    assert {name for name in modules if name.startswith("quorum")} == {"quorum"}


def test_an_error_imports_no_flask() -> None:
    assert tops(imported_by("from quorum import ConfigError")) == {"quorum"}


def test_a_declaration_imports_no_flask() -> None:
    assert tops(imported_by("import quorum; quorum.variable('A', int)")) == {"quorum"}


LOAD = """
import quorum
app = quorum.load(
    name="shop",
    SMTP_HOST="localhost",
    REDISTOGO_URL="redis://localhost",
    MONGOHQ_URL="mongodb://localhost",
    CLOUDAMQP_URL="amqp://localhost",
    AMAZON_BUCKET="shop",
)
quorum.conf("PORT")
app.test_client().get("/")
"""


def test_the_load_imports_nothing_that_flask_does_not_import() -> None:
    modules = imported_by(LOAD, after="import flask.testing")

    assert tops(modules) == {"quorum"}


def test_the_load_imports_no_engine() -> None:
    assert not any("engines" in name for name in imported_by(LOAD))


def test_a_star_import_works_while_nothing_is_loaded() -> None:
    program = (
        "from quorum import *\n"
        "import quorum\n"
        "print([name for name in quorum.__all__ if name not in globals()], APP)\n"
    )

    assert run(program) == "[] None\n"


def test_a_star_import_imports_no_client() -> None:
    modules = imported_by("from quorum import *", after="import flask")

    assert tops(modules) == {"quorum"}


def test_model_classes_are_imported_when_they_are_used() -> None:
    modules = imported_by("import quorum; quorum.Model", after="import flask")

    assert {"pydantic", "bson"} <= tops(modules)


@pytest.mark.parametrize(
    "name", ["mongodb.get_connection", "mongodb.get_mongo_db", "parsers.port"]
)
def test_a_module_works_after_the_import_of_the_package_alone(name: str) -> None:
    assert run(f"import quorum; print(callable(quorum.{name}))") == "True\n"


def test_a_module_can_be_imported_by_itself() -> None:
    program = (
        "from quorum.mongodb import get_connection\n"
        "import quorum\n"
        "print(get_connection is quorum.get_mongo)\n"
    )

    assert run(program) == "True\n"


def test_the_app_is_none_while_nothing_is_loaded() -> None:
    assert run("import quorum; print(quorum.APP)") == "None\n"


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").read_text() == ""
