import collections
import functools
import gc
import importlib
import pathlib
import subprocess
import sys
import threading
import typing as t
import weakref

import flask
import pytest

import quorum
from quorum import config, parsers
from quorum.state import KEY
from tests.conftest import MakeApp
from tests.processes import clean_environment


@pytest.fixture
def items() -> config.Variable[int]:
    return quorum.variable("SHOP_ITEMS", int, default=3, aliases=("SHOP_COUNT",))


@pytest.fixture
def title() -> config.Variable[str]:
    return quorum.variable("SHOP_TITLE", str)


# One value.


def test_a_declared_name_comes_back_typed(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "8080")
    monkeypatch.setenv("DEBUG", "on")
    make_app()

    assert quorum.conf("PORT") == 8080
    assert quorum.conf("DEBUG") is True


def test_a_declared_name_has_its_declared_default(
    make_app: MakeApp, items: config.Variable[int]
) -> None:
    make_app()

    assert quorum.conf("SHOP_ITEMS") == 3


def test_an_alias_reads_like_the_name(
    make_app: MakeApp, items: config.Variable[int]
) -> None:
    make_app(SHOP_ITEMS="20")

    assert quorum.conf("SHOP_COUNT") == 20


def test_a_declaration_reads_like_the_name(
    make_app: MakeApp, items: config.Variable[int]
) -> None:
    make_app(SHOP_ITEMS="20")

    assert quorum.conf(items) == 20


@pytest.mark.usefixtures("title")
def test_a_declared_name_without_a_value_is_none_or_the_default_given(
    make_app: MakeApp,
) -> None:
    make_app()

    assert quorum.conf("SHOP_TITLE") is None
    assert quorum.conf("SHOP_TITLE", "Books") == "Books"


def test_a_declaration_without_a_value_is_a_missing_setting(
    make_app: MakeApp, title: config.Variable[str]
) -> None:
    make_app()

    with pytest.raises(quorum.SettingMissingError) as caught:
        quorum.conf(title)

    assert caught.value.name == "SHOP_TITLE"
    assert "Set it to text." in str(caught.value)


def test_a_declaration_whose_default_is_none_is_none(make_app: MakeApp) -> None:
    note = quorum.variable("SHOP_NOTE", str, default=None)

    make_app()

    assert quorum.conf(note) is None


def test_the_declared_default_is_before_the_default_given(
    make_app: MakeApp, items: config.Variable[int]
) -> None:
    make_app()

    assert quorum.conf("SHOP_ITEMS", 50) == 3


@pytest.mark.parametrize("value", [0, False])
def test_a_value_that_counts_as_false_is_a_value_still(
    value: object, make_app: MakeApp, items: config.Variable[int]
) -> None:
    make_app(SHOP_ITEMS=0, DEBUG=False)

    assert quorum.conf("SHOP_ITEMS", 50) == 0
    assert quorum.conf("DEBUG", True) is False


def test_an_undeclared_name_is_text(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_COLOUR", "1")
    make_app()

    assert [quorum.conf("SHOP_COLOUR") for _ in range(3)] == ["1", "1", "1"]


def test_an_undeclared_name_that_the_app_has_set_is_text_too(
    tmp_path: pathlib.Path,
) -> None:
    app = flask.Flask("shop", root_path=str(tmp_path))
    app.config["SHOP_COLOUR"] = 1

    quorum.load(app)

    assert quorum.conf("SHOP_COLOUR") == "1"


def test_a_name_that_nobody_knows_is_none_or_the_default_given(
    make_app: MakeApp,
) -> None:
    make_app()
    default = object()

    assert quorum.conf("SHOP_COLOUR") is None
    assert quorum.conf("SHOP_COLOUR", default) is default


def test_names_are_told_apart_by_their_case(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("shop_colour", "red")
    make_app()

    assert quorum.conf("shop_colour") == "red"
    assert quorum.conf("SHOP_COLOUR") is None


# Casts.


def test_a_cast_makes_the_value_of_the_text_of_an_undeclared_name(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_WEIGHT", "2.5")
    make_app()

    assert quorum.conf("SHOP_WEIGHT", cast=float) == 2.5


def test_a_cast_makes_the_value_of_the_text_of_a_declared_name(
    make_app: MakeApp,
) -> None:
    make_app(PORT="08080")

    assert quorum.conf("PORT", cast=str) == "08080"
    assert quorum.conf("PORT", cast=float) == 8080.0


def test_a_cast_is_given_the_declared_default_when_there_is_no_text(
    make_app: MakeApp,
) -> None:
    make_app()

    assert quorum.conf("PORT", cast=str) == "5000"


def test_a_cast_is_given_what_the_app_has_set_as_it_is(
    tmp_path: pathlib.Path,
) -> None:
    app = flask.Flask("shop", root_path=str(tmp_path))
    app.config["SHOP_COLOURS"] = ["red", "green"]

    quorum.load(app)

    assert quorum.conf("SHOP_COLOURS", cast=tuple) == ("red", "green")


def test_a_cast_may_be_given_with_an_alias_or_a_declaration(
    make_app: MakeApp, items: config.Variable[int]
) -> None:
    make_app(SHOP_ITEMS="20")
    by_declaration = t.cast(t.Any, quorum.conf)(items, None, str)

    assert quorum.conf("SHOP_COUNT", cast=str) == "20"
    assert by_declaration == "20"


def test_a_cast_leaves_the_default_given_as_it_is(make_app: MakeApp) -> None:
    make_app()

    assert quorum.conf("SHOP_WEIGHT", "none", float) == "none"
    assert quorum.conf("SHOP_WEIGHT", cast=float) is None


def test_a_cast_is_done_for_its_own_type_only(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_WEIGHT", "1")
    make_app()

    values = [quorum.conf("SHOP_WEIGHT", cast=cast) for cast in (int, bool, float, str)]

    assert [(value, type(value)) for value in values] == [
        (1, int),
        (True, bool),
        (1.0, float),
        ("1", str),
    ]


@pytest.mark.parametrize("word", ["1", "true", "yes", "on", "TRUE", "Yes", "oN"])
def test_a_cast_to_bool_is_true_for_what_means_true(
    word: str, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_OPEN", word)
    make_app()

    assert quorum.conf("SHOP_OPEN", cast=bool) is True


@pytest.mark.parametrize("word", ["0", "false", "no", "off", "FALSE", "No", "oFF"])
def test_a_cast_to_bool_is_false_for_what_means_false(
    word: str, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_OPEN", word)
    make_app()

    assert quorum.conf("SHOP_OPEN", cast=bool) is False


def test_a_cast_to_bool_of_any_other_word_is_a_config_error(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_OPEN", "maybe")
    make_app()

    with pytest.raises(quorum.ConfigError, match="is not one of 1/0, true/false"):
        quorum.conf("SHOP_OPEN", True, bool)


@pytest.mark.parametrize(
    ("cast", "value"),
    [
        (parsers.port, 80),
        (functools.partial(int, base=16), 128),
        (lambda text: [text], ["80"]),
        ("{}!".format, "80!"),
    ],
    ids=["parser", "partial", "lambda", "method"],
)
def test_a_cast_may_be_anything_that_can_be_called(
    cast: t.Callable[[t.Any], object],
    value: object,
    make_app: MakeApp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOP_NUMBER", "80")
    make_app()

    assert quorum.conf("SHOP_NUMBER", cast=cast) == value
    assert quorum.conf("SHOP_NUMBER", cast=cast) == value


class Unhashable:
    """A cast that is equal to others of its kind, and so has no hash."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable)

    def __call__(self, value: str) -> int:
        return int(value)


def test_a_cast_may_be_something_without_a_hash(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_NUMBER", "80")
    make_app()
    quorum.conf("SHOP_NUMBER", cast=str)

    assert quorum.conf("SHOP_NUMBER", cast=Unhashable()) == 80
    assert quorum.conf("PORT", cast=Unhashable()) == 5000


@pytest.mark.parametrize("name", ["SHOP_NUMBER", "SHOP_ITEMS", "SHOP_COUNT"])
def test_a_cast_is_done_once_for_each_value(
    name: str,
    make_app: MakeApp,
    monkeypatch: pytest.MonkeyPatch,
    items: config.Variable[int],
) -> None:
    monkeypatch.setenv("SHOP_NUMBER", "80")
    calls: list[str] = []

    def cast(value: str) -> int:
        calls.append(value)
        return int(value)

    make_app(SHOP_ITEMS="80")

    values = [quorum.conf(name, cast=cast) for _ in range(10)]

    assert values == [80] * 10
    assert calls == ["80"]


def test_casts_and_names_that_take_turns_are_done_once_each(
    make_app: MakeApp,
) -> None:
    calls: list[tuple[str, object]] = []

    def first(value: object) -> object:
        calls.append(("first", value))
        return value

    def second(value: object) -> object:
        calls.append(("second", value))
        return value

    make_app(PORT=80, HOST="::")

    for _ in range(3):
        for name in ("PORT", "HOST"):
            for cast in (first, second):
                quorum.conf(name, cast=cast)

    assert calls == [
        ("first", 80),
        ("second", 80),
        ("first", "::"),
        ("second", "::"),
    ]


def test_a_parser_of_a_declaration_is_called_once_for_each_load(
    make_app: MakeApp,
) -> None:
    calls: list[str] = []

    def parse(value: str) -> int:
        calls.append(value)
        return int(value)

    declared = quorum.variable("SHOP_NUMBER", parse)
    make_app(SHOP_NUMBER="80")

    values = {quorum.conf(name) for name in (declared, declared.name) for _ in "12"}

    assert values == {80}
    assert calls == ["80"]


def test_a_cast_is_done_again_for_another_value(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_NUMBER", "80")
    make_app(PORT="80")
    assert (quorum.conf("SHOP_NUMBER", cast=int), quorum.conf("PORT", cast=str)) == (
        80,
        "80",
    )

    quorum.confs("SHOP_NUMBER", "81")
    quorum.confs("PORT", "81")

    assert quorum.conf("SHOP_NUMBER", cast=int) == 81
    assert quorum.conf("PORT", cast=str) == "81"


def test_casts_that_are_made_anew_for_each_call_do_not_pile_up(
    make_app: MakeApp,
) -> None:
    make_app()
    alive: weakref.WeakSet[t.Callable[..., object]] = weakref.WeakSet()

    for _ in range(5000):
        cast: t.Callable[[object], str] = lambda value: f"{value}!"  # noqa: E731
        alive.add(cast)
        quorum.conf("PORT", cast=cast)

    gc.collect()
    assert len(alive) < 2000


def test_a_cast_is_done_once_after_many_that_were_made_anew(make_app: MakeApp) -> None:
    make_app()
    calls: list[object] = []

    def cast(value: object) -> object:
        calls.append(value)
        return value

    for number in range(5000):
        quorum.conf("PORT", cast=functools.partial(max, number))
    for _ in range(10):
        quorum.conf("PORT", cast=cast)

    assert calls == [5000]


def test_names_without_a_value_do_not_pile_up(make_app: MakeApp) -> None:
    state = make_app().extensions[KEY]

    for number in range(5000):
        quorum.conf(f"SHOP_OF_{number}")
        quorum.conf(f"SHOP_OF_{number}", "none", str)

    assert len(state.values) < 2000
    assert len(state.casts) < 2000


def failing(value: object) -> int:
    raise RuntimeError(f"{value} is odd")


@pytest.mark.parametrize("cast", [int, bool, parsers.port, failing])
def test_a_cast_that_fails_names_the_variable_and_hides_an_undeclared_value(
    cast: t.Callable[[t.Any], object],
    make_app: MakeApp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOP_NUMBER", "hunter22")
    make_app()

    with pytest.raises(quorum.ConfigError) as caught:
        quorum.conf("SHOP_NUMBER", cast=cast)

    (problem,) = caught.value.problems
    assert problem[:2] == ("SHOP_NUMBER", "environment")
    assert problem.text.startswith("its value (hidden) is not ")
    assert caught.value.__cause__ is None


def test_a_cast_of_empty_text_that_fails_names_the_variable(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_NUMBER", "")
    make_app()

    with pytest.raises(quorum.ConfigError, match=r"^SHOP_NUMBER \(environment\)"):
        quorum.conf("SHOP_NUMBER", 5, int)


def test_a_cast_of_a_declared_value_that_fails_names_the_variable_and_shows_it(
    make_app: MakeApp,
) -> None:
    make_app(HOST="localhost")

    with pytest.raises(quorum.ConfigError) as caught:
        quorum.conf("HOST", cast=int)

    assert str(caught.value) == "HOST (keyword): 'localhost' is not a whole number."
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_cast_of_a_declared_secret_that_fails_hides_it(make_app: MakeApp) -> None:
    make_app(SMTP_PASSWORD="hunter22")

    with pytest.raises(quorum.ConfigError) as caught:
        quorum.conf("SMTP_PASSWORD", cast=int)

    assert "hunter22" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_cast_that_failed_is_tried_again(make_app: MakeApp) -> None:
    answers = collections.deque([RuntimeError("not yet"), None])

    def cast(value: object) -> object:
        if error := answers.popleft():
            raise error
        return value

    make_app()
    with pytest.raises(quorum.ConfigError):
        quorum.conf("PORT", cast=cast)

    assert quorum.conf("PORT", cast=cast) == 5000


# Setting and removing.


def test_confs_sets_a_declared_value_from_text(make_app: MakeApp) -> None:
    make_app()

    quorum.confs("PORT", "8080")

    assert quorum.conf("PORT") == 8080


def test_confs_sets_a_declared_value_that_is_typed(make_app: MakeApp) -> None:
    make_app()

    quorum.confs("PORT", 8080)

    assert quorum.conf("PORT") == 8080


def test_confs_sets_what_every_spelling_and_the_declaration_return(
    make_app: MakeApp, items: config.Variable[int]
) -> None:
    make_app()

    quorum.confs("SHOP_COUNT", 20)

    assert quorum.conf("SHOP_ITEMS") == 20
    assert quorum.conf("SHOP_COUNT") == 20
    assert quorum.conf(items) == 20


def test_confs_gives_a_value_to_what_had_none(
    make_app: MakeApp, title: config.Variable[str]
) -> None:
    make_app()

    quorum.confs("SHOP_TITLE", "Books")

    assert quorum.conf(title) == "Books"


def test_confs_sets_an_undeclared_value_as_text(make_app: MakeApp) -> None:
    make_app()

    quorum.confs("SHOP_NUMBER", 80)

    assert quorum.conf("SHOP_NUMBER") == "80"
    assert quorum.conf("SHOP_NUMBER", cast=int) == 80


def test_confs_with_a_bad_value_is_a_config_error_and_changes_nothing(
    make_app: MakeApp,
) -> None:
    make_app(PORT=8080)

    with pytest.raises(quorum.ConfigError) as caught:
        quorum.confs("PORT", "many")

    assert caught.value.problems[0][:2] == ("PORT", "confs")
    assert quorum.conf("PORT") == 8080


def test_a_cast_that_fails_says_where_a_changed_value_came_from(
    make_app: MakeApp,
) -> None:
    make_app(HOST="localhost")

    quorum.confs("HOST", "shop")
    with pytest.raises(quorum.ConfigError, match=r"^HOST \(confs\): 'shop' is not"):
        quorum.conf("HOST", cast=int)

    quorum.confr("HOST")
    with pytest.raises(quorum.ConfigError, match=r"^HOST \(default\): '"):
        quorum.conf("HOST", cast=int)


def test_confr_brings_the_declared_default_back(make_app: MakeApp) -> None:
    make_app(PORT=8080)

    quorum.confr("PORT")

    assert quorum.conf("PORT") == 5000


def test_confr_leaves_what_has_no_default_without_a_value(
    make_app: MakeApp, title: config.Variable[str]
) -> None:
    make_app(SHOP_TITLE="Books")

    quorum.confr("SHOP_TITLE")

    assert quorum.conf("SHOP_TITLE") is None
    with pytest.raises(quorum.SettingMissingError):
        quorum.conf(title)


def test_confr_removes_an_undeclared_value(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_COLOUR", "red")
    make_app()

    quorum.confr("SHOP_COLOUR")

    assert quorum.conf("SHOP_COLOUR") is None
    assert "SHOP_COLOUR" not in quorum.confd()


@pytest.mark.parametrize("name", ["PORT", "SHOP_COLOUR"])
def test_confs_after_confr_sets_a_value_again(name: str, make_app: MakeApp) -> None:
    make_app()
    quorum.confr(name)

    quorum.confs(name, "80")

    assert str(quorum.conf(name)) == "80"


def test_confr_of_a_name_that_nobody_knows_does_nothing(make_app: MakeApp) -> None:
    make_app()

    quorum.confr("SHOP_COLOUR")

    assert quorum.conf("SHOP_COLOUR", "none") == "none"


def test_a_value_that_was_set_before_the_declaration_is_typed(
    make_app: MakeApp,
) -> None:
    make_app()
    quorum.confs("SHOP_LATE", "7")

    late = quorum.variable("SHOP_LATE", int)

    assert quorum.conf(late) == 7


# Many values.


def test_confd_returns_every_name_with_what_conf_returns(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, items: config.Variable[int]
) -> None:
    monkeypatch.setenv("SHOP_COLOUR", "red")
    make_app(PORT="8080")
    quorum.confs("SHOP_SIZE", 5)

    values = quorum.confd()

    assert values["PORT"] == 8080
    assert values["SHOP_ITEMS"] == 3
    assert values["SHOP_COLOUR"] == "red"
    assert values["SHOP_SIZE"] == "5"
    assert all(value == quorum.conf(name) for name, value in values.items())


def test_confd_has_what_is_declared_after_the_load(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_LATE", "7")
    make_app()

    quorum.variable("SHOP_LATE", int)
    quorum.variable("SHOP_LATER", int, default=8)

    assert quorum.conf_prefix("SHOP_LATE") == {"SHOP_LATE": 7, "SHOP_LATER": 8}


@pytest.mark.usefixtures("title")
def test_confd_leaves_out_what_has_no_value(make_app: MakeApp) -> None:
    make_app()

    assert "SHOP_TITLE" not in quorum.confd()
    assert None not in quorum.confd().values()


def test_confd_has_the_names_in_order(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZEBRA", "z")
    monkeypatch.setenv("AARDVARK", "a")
    make_app()
    quorum.confs("PORT", 80)

    names = list(quorum.confd())

    assert names == sorted(names)


def test_confd_returns_a_new_dictionary(make_app: MakeApp) -> None:
    make_app()

    quorum.confd()["PORT"] = 1

    assert quorum.conf("PORT") == 5000
    assert quorum.confd()["PORT"] == 5000


def test_confd_shows_names_only(make_app: MakeApp) -> None:
    make_app(SMTP_PASSWORD="hunter22")

    values = quorum.confd()

    assert values["SMTP_PASSWORD"] == "hunter22"
    for shown in (repr(values), str(values), f"{values}", "%r" % values):  # noqa: UP031
        assert "SMTP_PASSWORD" in shown
        assert "hunter22" not in shown


@pytest.mark.usefixtures("items")
def test_conf_prefix_returns_the_names_that_start_with_it(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_COLOUR", "red")
    monkeypatch.setenv("A_SHOP_", "no")
    make_app()

    assert quorum.conf_prefix("SHOP_") == {"SHOP_COLOUR": "red", "SHOP_ITEMS": 3}


@pytest.mark.usefixtures("items")
def test_conf_suffix_returns_the_names_that_end_with_it(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CART_ITEMS", "red")
    monkeypatch.setenv("_ITEMS_A", "no")
    make_app()

    assert quorum.conf_suffix("_ITEMS") == {"CART_ITEMS": "red", "SHOP_ITEMS": 3}


@pytest.mark.parametrize("read", [quorum.conf_prefix, quorum.conf_suffix])
def test_a_part_that_no_name_has_gives_nothing(
    read: t.Callable[[str], dict[str, t.Any]], make_app: MakeApp
) -> None:
    make_app()

    assert read("_NOBODY_HAS_THIS_") == {}


# Overriding.


@pytest.mark.parametrize("name", ["PORT", "SHOP_COLOUR"])
def test_an_override_counts_inside_the_block_only(
    name: str, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "80")
    make_app()
    before = quorum.conf(name), quorum.conf(name, cast=int)

    with quorum.conf_override(name, "81"):
        inside = quorum.conf(name), quorum.conf(name, cast=int)

    assert [str(value) for value in inside] == ["81", "81"]
    assert (quorum.conf(name), quorum.conf(name, cast=int)) == before


@pytest.mark.parametrize("name", ["SHOP_COLOUR", "SHOP_TITLE", "SMTP_USER"])
@pytest.mark.usefixtures("title")
def test_an_override_of_what_had_no_value_leaves_it_without_one(
    name: str, make_app: MakeApp
) -> None:
    make_app()

    with quorum.conf_override(name, "red"):
        assert quorum.conf(name) == "red"

    assert quorum.conf(name) is None
    assert name not in quorum.confd()


def test_an_override_of_a_declaration_without_a_value_leaves_it_missing(
    make_app: MakeApp, title: config.Variable[str]
) -> None:
    make_app()

    with quorum.conf_override("SHOP_TITLE", "Books"):
        assert quorum.conf(title) == "Books"

    with pytest.raises(quorum.SettingMissingError):
        quorum.conf(title)


@pytest.mark.parametrize("name", ["PORT", "SHOP_COLOUR"])
def test_an_override_with_none_removes_the_value_in_the_block(
    name: str, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "80")
    make_app()
    before = quorum.conf(name)

    with quorum.conf_override(name, None):
        inside = quorum.conf(name)

    assert inside == {"PORT": 5000}.get(name)
    assert quorum.conf(name) == before


@pytest.mark.parametrize("name", ["PORT", "SHOP_COLOUR"])
@pytest.mark.parametrize("value", ["80", None])
def test_an_override_restores_what_confs_had_set_or_confr_removed(
    name: str, value: str | None, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "79")
    make_app()
    quorum.confs(name, value)
    before = quorum.conf(name)

    with quorum.conf_override(name, "81"):
        pass

    assert quorum.conf(name) == before


@pytest.mark.parametrize("name", ["PORT", "SHOP_COLOUR"])
def test_an_override_restores_whatever_was_set_in_the_block(
    name: str, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "79")
    make_app()
    before = quorum.conf(name)

    with quorum.conf_override(name, "81"):
        quorum.confs(name, "82")
        quorum.confr(name)

    assert quorum.conf(name) == before


@pytest.mark.parametrize("name", ["PORT", "SHOP_COLOUR"])
def test_overrides_can_be_nested(
    name: str, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "80")
    make_app()
    seen = [str(quorum.conf(name))]

    with quorum.conf_override(name, "81"):
        seen.append(str(quorum.conf(name)))
        with quorum.conf_override(name, "82"):
            seen.append(str(quorum.conf(name)))
        seen.append(str(quorum.conf(name)))
    seen.append(str(quorum.conf(name)))

    assert seen == ["80", "81", "82", "81", "80"]


def test_nested_overrides_by_different_spellings_are_of_one_variable(
    make_app: MakeApp, items: config.Variable[int]
) -> None:
    make_app()

    with quorum.conf_override("SHOP_ITEMS", 20):
        with quorum.conf_override("SHOP_COUNT", 30):
            assert quorum.conf("SHOP_ITEMS") == 30
        assert quorum.conf(items) == 20

    assert quorum.conf("SHOP_COUNT") == 3


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, GeneratorExit])
def test_an_override_ends_with_an_exception_too(
    error: type[BaseException], make_app: MakeApp
) -> None:
    make_app()

    with pytest.raises(error), quorum.conf_override("PORT", 81):
        raise error

    assert quorum.conf("PORT") == 5000


def test_a_bad_override_is_a_config_error_and_changes_nothing(
    make_app: MakeApp,
) -> None:
    make_app(PORT=8080)

    with (
        pytest.raises(quorum.ConfigError, match=r"^PORT "),
        quorum.conf_override("PORT", "many"),
    ):
        pytest.fail("The block was entered.")

    assert quorum.conf("PORT") == 8080


@pytest.mark.parametrize("name", ["PORT", "SHOP_COLOUR"])
def test_other_threads_see_an_override(
    name: str, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "80")
    make_app()
    seen: list[str] = []

    def look() -> None:
        seen.append(str(quorum.conf(name)))

    with quorum.conf_override(name, "81"):
        inside = threading.Thread(target=look)
        inside.start()
        inside.join()
    outside = threading.Thread(target=look)
    outside.start()
    outside.join()

    assert seen == ["81", "80"]


def test_threads_never_see_another_value_than_those_of_the_blocks(
    make_app: MakeApp,
) -> None:
    make_app(PORT=80)
    seen: set[int] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.add(quorum.conf("PORT"))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=look)
    with quorum.conf_override("PORT", 81):
        thread.start()
        for _ in range(500):
            with quorum.conf_override("PORT", 82):
                pass
        done.set()
        thread.join()
    sys.setswitchinterval(interval)

    assert seen <= {81, 82}


@pytest.mark.parametrize("name", ["PORT", "SHOP_COLOUR"])
def test_a_cast_that_was_overtaken_by_a_new_value_is_not_kept(
    name: str, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cast sets the value itself, as another thread could at that moment."""
    monkeypatch.setenv(name, "80")
    make_app()

    def cast(value: object) -> int:
        if str(value) == "80":
            quorum.confs(name, "81")
        return int(str(value))

    quorum.conf(name, cast=cast)

    assert quorum.conf(name, cast=cast) == 81


def test_an_override_is_of_one_app_only(make_app: MakeApp) -> None:
    shop, bank = make_app("shop"), make_app("bank")

    with shop.app_context(), quorum.conf_override("PORT", 81), bank.app_context():
        assert quorum.conf("PORT") == 5000


def test_an_override_may_be_used_as_a_decorator(make_app: MakeApp) -> None:
    make_app()

    @quorum.conf_override("PORT", 81)
    def read() -> t.Any:
        return quorum.conf("PORT")

    assert [read(), read(), quorum.conf("PORT")] == [81, 81, 5000]


# Which app.


def test_two_apps_have_values_of_their_own(make_app: MakeApp) -> None:
    shop, bank = make_app("shop", PORT=1), make_app("bank", PORT=2)

    with shop.app_context():
        quorum.confs("SHOP_COLOUR", "red")
        of_shop = quorum.conf("PORT"), quorum.conf("SHOP_COLOUR")
    with bank.app_context():
        of_bank = quorum.conf("PORT"), quorum.conf("SHOP_COLOUR")

    assert (of_shop, of_bank) == ((1, "red"), (2, None))


def test_a_cast_of_one_app_is_not_the_cast_of_another(make_app: MakeApp) -> None:
    shop, bank = make_app("shop", PORT=1), make_app("bank", PORT=2)

    with shop.app_context():
        of_shop = quorum.conf("PORT", cast=float)
    with bank.app_context():
        of_bank = quorum.conf("PORT", cast=float)

    assert (of_shop, of_bank) == (1.0, 2.0)


READS: list[t.Callable[[], object]] = [
    lambda: quorum.conf("PORT"),
    lambda: quorum.conf("SHOP_COLOUR", "red"),
    lambda: quorum.conf("PORT", 1, int),
    lambda: quorum.confs("PORT", 1),
    lambda: quorum.confr("PORT"),
    quorum.confd,
    lambda: quorum.conf_prefix("P"),
    lambda: quorum.conf_suffix("T"),
    lambda: quorum.conf_override("PORT", 1).__enter__(),
    lambda: quorum.get_settings(quorum.Settings),
]

every_read = pytest.mark.parametrize("read", READS, ids=range(len(READS)))


@every_read
def test_nothing_can_be_read_while_nothing_is_loaded(
    read: t.Callable[[], object],
) -> None:
    with pytest.raises(quorum.NotLoadedError) as caught:
        read()

    assert str(caught.value) == "No app is loaded. Call quorum.load() first."


@every_read
def test_nothing_can_be_read_of_an_app_that_is_not_loaded(
    read: t.Callable[[], object], make_app: MakeApp
) -> None:
    make_app("shop")

    with (
        flask.Flask("bank").app_context(),
        pytest.raises(quorum.NotLoadedError, match="The app 'bank' is not loaded"),
    ):
        read()


@every_read
def test_nothing_can_be_read_of_several_apps_without_a_context(
    read: t.Callable[[], object], make_app: MakeApp
) -> None:
    make_app("shop")
    make_app("bank")

    with pytest.raises(quorum.AppAmbiguousError) as caught:
        read()

    assert caught.value.names == ("shop", "bank")


@every_read
def test_nothing_can_be_read_after_the_unload(
    read: t.Callable[[], object], make_app: MakeApp
) -> None:
    app = make_app("shop")
    quorum.unload()

    with pytest.raises(quorum.NotLoadedError), app.app_context():
        read()


def test_the_app_that_is_left_is_the_one_that_is_meant(make_app: MakeApp) -> None:
    shop, _ = make_app("shop", PORT=1), make_app("bank", PORT=2)

    quorum.unload(app=shop)

    assert quorum.conf("PORT") == 2


def test_a_program_that_keeps_no_reference_to_its_app_reads_its_values() -> None:
    program = (
        "import gc, quorum\n"
        "quorum.load(name='shop', PORT=8080)\n"
        "gc.collect()\n"
        "print(quorum.conf('PORT'))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clean_environment(PYTHONPATH=str(pathlib.Path(quorum.__file__).parents[1])),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("8080\n", "")


def test_what_type_checkers_read_does_nothing_when_it_is_imported() -> None:
    before = dict(config.VARIABLES)

    importlib.import_module("tests.typed_conf")

    assert before == config.VARIABLES


def test_a_declaration_stands_for_its_name_wherever_a_value_is_changed() -> None:
    number = quorum.variable("SHOP_NUMBER", int, default=1)
    quorum.load()

    with quorum.conf_override(number, 2):
        inside = quorum.conf("SHOP_NUMBER")
    quorum.confs(number, "3")
    after = quorum.conf(number)
    quorum.confr(number)

    assert (inside, after, quorum.conf(number)) == (2, 3, 1)


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset])
def test_text_is_not_taken_apart(make_app: MakeApp, kind: t.Any) -> None:
    make_app()
    quorum.confs("TAGS", "a,b")
    said = rf"TAGS .* is not a {kind.__name__}; pass a function that splits text\.$"

    with pytest.raises(quorum.ConfigError, match=said):
        quorum.conf("TAGS", cast=kind)
    quorum.confs("TAGS", ["a", "b"])

    assert quorum.conf("TAGS", cast=kind) == kind(["a", "b"])
