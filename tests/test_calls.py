import collections
import contextlib
import enum
import os
import sys
import types
import typing as t

import markupsafe
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quorum
from quorum import calls
from quorum.state import get_state

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def work() -> str:
    """Be a function of a module."""
    return "worked"


class Word(enum.StrEnum):
    """Something that JSON makes plain text of."""

    HELLO = "hello"


class Size(enum.IntEnum):
    """Something that JSON makes a plain number of."""

    BIG = 1


class Kind(enum.Enum):
    """Something that JSON does not have."""

    ONE = 1


def test_a_function_that_is_packed_is_found_again() -> None:
    path = calls.pack("work", work, ["tests"])

    assert path == "tests.test_calls:work"
    assert calls.unpack(path, ["tests.test_calls"])() == "worked"


@pytest.mark.parametrize(
    "path",
    [
        "os:system",
        "tests.test_calls:os.system",
        "tests.test_calls:Kind",
        "tests.test_calls:contextmanager",
        "tests.test_calls:no_such",
        "tests.test_calls.no_such:work",
        "tests.test_callsx:work",
        "test:work",
        "quorum.config:variable",
        "quorum.extras:require",
        "quorum.tasks:get_broker",
        ":work",
        "",
    ],
)
def test_a_name_that_is_not_on_the_list_or_no_function_is_refused(path: str) -> None:
    globals()["contextmanager"] = contextlib.contextmanager

    with pytest.raises(quorum.TaskError) as caught:
        calls.unpack(path, ["tests.test_calls"])

    assert caught.value.name == path


def test_a_module_is_not_one_that_only_begins_alike() -> None:
    with pytest.raises(quorum.TaskError, match="QUEUE_MODULES"):
        calls.pack("work", work, ["test", "tests.test"])


@pytest.mark.parametrize(
    ("file", "spec", "name"),
    [
        ("/srv/shop.py", None, "shop"),
        ("/srv/shop.py", "shop.__main__", "shop.__main__"),
        (None, None, "__main__"),
    ],
)
def test_a_program_is_called_by_the_name_of_its_file(
    file: str | None, spec: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = types.ModuleType("__main__")
    main.__file__ = file
    main.__spec__ = t.cast(t.Any, spec and types.SimpleNamespace(name=spec))
    monkeypatch.setitem(sys.modules, "__main__", main)

    assert calls.find_module("__main__") == name
    assert calls.find_module("shop.web") == "shop.web"


@pytest.mark.parametrize("file", [None, "/srv/shop/__main__.py"])
def test_a_function_of_a_program_without_a_name_is_refused(
    file: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = types.ModuleType("__main__")
    main.__file__ = file
    exec("def work(): ...", vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)

    with pytest.raises(quorum.TaskError, match="move it to a module"):
        calls.pack("work", vars(main)["work"], ["__main__"])


@given(JSON)
def test_what_json_can_express_is_taken(value: object) -> None:
    if "inf" not in repr(value):
        calls.check_json("work", "args", value)


@pytest.mark.parametrize(
    "value",
    [
        (1,),
        {1},
        b"x",
        Kind.ONE,
        {None: 1},
        [[{"x": os}]],
        float("nan"),
        Word.HELLO,
        Size.BIG,
        markupsafe.Markup("<b>"),
        collections.OrderedDict(x=1),
        {Word.HELLO: 1},
    ],
)
def test_what_json_cannot_express_is_refused(value: object) -> None:
    with pytest.raises(quorum.TaskError, match="JSON cannot express"):
        calls.check_json("work", "args", value)


@pytest.mark.parametrize(
    ("app", "queue"),
    [("shop", "shop"), ("my.shop", "my_shop"), ("7 shops", "_7_shops"), ("ä", "_")],
)
def test_the_queue_of_an_app_has_a_name_that_brokers_take(app: str, queue: str) -> None:
    found = calls.name_queue(app)

    assert found.startswith(queue)
    quorum.load(name="shop", QUEUE_NAME=found)


def test_the_name_of_an_app_allows_no_module_of_that_name() -> None:
    quorum.load(name="profile")

    assert get_state().packages == {"tests"}
