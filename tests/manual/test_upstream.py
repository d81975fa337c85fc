"""What the manual says of each name and variable of upstream is held against quorum."""

import importlib
import inspect
import pathlib
import re

import pytest

from quorum.config import SPELLINGS
from quorum.models import __all__ as model_names

PAGE = pathlib.Path(__file__).parent.parent.parent / "doc/source/upstream.rst"
PUBLIC = {"quorum", "quorum.mongodb"}

_ROW = re.compile(r"^   \* - (.+)\n     - (.+(?:\n       .+)*)", re.MULTILINE)
_NAME = re.compile(r"``([\w.$]+)(?:\((.*?)\))?``")


def find_false_rows(text: str) -> list[str]:
    """Return the names and variables that are not as their rows say."""
    text = text[text.index("Name by name\n") : text.index("Defects that are gone\n")]
    names, variables = text.split("Variable by variable\n")
    false = [
        name
        for cell, row in _ROW.findall(names)
        for name, parameters in _NAME.findall(cell)
        if not _is_true(name, parameters, row)
    ]
    return false + [
        name
        for cell, row in _ROW.findall(variables)
        for name, _ in _NAME.findall(cell)
        if (name in SPELLINGS) is row.startswith("Gone")
    ]


def _is_true(name: str, parameters: str, row: str) -> bool:
    home, _, last = f"quorum.{name.removeprefix('quorum.')}".rpartition(".")
    module = importlib.import_module(home) if home in PUBLIC else None
    names = {*getattr(module, "__all__", ())}
    names.update(model_names if home == "quorum" else ())
    if not row.startswith(("The same", "Changed")):
        return last not in names
    if last not in names:
        return False
    wanted = parameters.split(", ") if parameters else []
    item = getattr(module, last)
    signature = inspect.signature(item) if inspect.isfunction(item) else None
    taken = [
        re.split("[:=]", str(parameter))[0].strip()
        for parameter in (signature.parameters.values() if signature else ())
    ]
    if row.startswith("The same"):
        return taken[: len(wanted)] == wanted
    return all(item in taken or f"``{item}``" in row for item in wanted)


def test_every_row_says_what_became_of_a_name() -> None:
    text = PAGE.read_text()

    assert find_false_rows(text) == []
    assert len(_NAME.findall(text)) > 300


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("``onrun(function)``", "``onrun(function, name)``", "onrun"),
        ("``object_id(value)``", "``object_ids(value)``", "object_ids"),
        ("cast, ctx)``", "cast, context)``", "conf"),
        ("``get_rabbit``", "``get_redis``", "get_redis"),
        ("get_connection_a``", "get_connection``", "quorum.mongodb.get_connection"),
        ("``SMTP_PORT``", "``SMTP_TIMEOUT``", "SMTP_TIMEOUT"),
        ("``HOST``, ``PORT``", "``HOST``, ``PORTS``", "PORTS"),
    ],
)
def test_a_false_row_is_found(old: str, new: str, name: str) -> None:
    text = PAGE.read_text()
    assert old in text

    assert find_false_rows(text.replace(old, new, 1)) == [name]
