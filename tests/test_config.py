import typing as t

import flask
import hypothesis
import pytest
from hypothesis import strategies as st

import quorum
from quorum import config, parsers
from quorum.errors import Problem
from tests.conftest import MakeApp

fuzzed = hypothesis.settings(max_examples=40, derandomize=True, deadline=None)


class ShopSettings(quorum.Settings):
    """What a user's own program declares."""

    items: config.Variable[int] = quorum.variable(
        "SHOP_ITEMS", int, default=3, help="Number of items on a page."
    )
    title: config.Variable[str] = quorum.variable("SHOP_TITLE", str)
    token: config.Variable[str | None] = quorum.variable(
        "SHOP_TOKEN", str, default=None, secret=True
    )


OWN = {declared.name: declared for declared in ShopSettings.variables}

# Other tests must not know them.
for known in OWN:
    del config.VARIABLES[known], config.SPELLINGS[known]


@pytest.fixture(autouse=True)
def shop_settings() -> None:
    """Declare the variables above; the cleaning after each test undoes it."""
    config.VARIABLES.update(OWN)
    config.SPELLINGS.update(OWN)


def comma_separated(value: str) -> list[str]:
    if "," not in value:
        raise ValueError(f"there is no comma in {value}")
    return value.split(",")


def test_a_declaration_keeps_its_facts() -> None:
    made = quorum.variable(
        "SHOP_PORT",
        parsers.port,
        default=80,
        secret=True,
        since="1.2.0",
        aliases=("SHOP_TCP_PORT",),
        help="TCP port of the shop.",
    )

    assert made.name == "SHOP_PORT"
    assert made.parser is parsers.port
    assert made.default == 80
    assert made.has_default
    assert made.secret
    assert made.since == "1.2.0"
    assert made.aliases == ("SHOP_TCP_PORT",)
    assert made.spellings == ("SHOP_PORT", "SHOP_TCP_PORT")
    assert made.help == "TCP port of the shop."


def test_a_declaration_without_further_facts_has_none() -> None:
    made = quorum.variable("SHOP_PORT", int)

    assert not made.has_default
    assert not made.secret
    assert (made.since, made.aliases, made.help) == ("", (), "")


def test_none_is_a_default_like_others() -> None:
    made = quorum.variable("SHOP_PORT", int, default=None)

    assert made.has_default
    assert made.default is None


def test_a_declaration_is_known_by_its_name_and_its_aliases() -> None:
    made = quorum.variable("SHOP_PORT", int, aliases=("SHOP_TCP_PORT",))

    assert config.VARIABLES["SHOP_PORT"] is made
    assert config.SPELLINGS["SHOP_PORT"] is made
    assert config.SPELLINGS["SHOP_TCP_PORT"] is made
    assert "SHOP_TCP_PORT" not in config.VARIABLES


def test_the_repr_of_a_declaration_is_its_name_only() -> None:
    made = quorum.variable("SHOP_KEY", str, default="hunter22", secret=True)

    assert repr(made) == "<variable SHOP_KEY>"


def test_declaring_the_same_facts_again_is_allowed() -> None:
    facts: dict[str, t.Any] = {"default": ["a"], "aliases": ("SHOP_TAG",), "help": "T."}
    quorum.variable("SHOP_TAGS", comma_separated, **facts)

    again = quorum.variable("SHOP_TAGS", comma_separated, **facts)

    assert config.VARIABLES["SHOP_TAGS"] is again


@pytest.mark.parametrize(
    "changed",
    [
        {"parser": str},
        {"parser": parsers.port},
        {"default": 4},
        {"default": None},
        {"secret": True},
        {"since": "2.0.0"},
        {"aliases": ("SHOP_THINGS",)},
        {"help": "Number of things on a page."},
    ],
    ids=str,
)
def test_declaring_other_facts_for_a_name_is_an_error(
    changed: dict[str, t.Any],
) -> None:
    facts = {"parser": int, "default": 3, "help": "Number of items on a page."}

    with pytest.raises(quorum.ConfigError) as caught:
        quorum.variable("SHOP_ITEMS", **{**facts, **changed})

    assert str(caught.value) == (
        "SHOP_ITEMS (declaration): it is declared already, with other facts. "
        "Choose another name."
    )


def test_a_declaration_that_is_refused_changes_nothing() -> None:
    before = dict(config.VARIABLES), dict(config.SPELLINGS)

    with pytest.raises(quorum.ConfigError):
        quorum.variable("SHOP_NEW", int, aliases=("SHOP_NEWER", "SHOP_ITEMS"))

    assert before == (config.VARIABLES, config.SPELLINGS)


@pytest.mark.parametrize("alias", ["PORT", "REDIS_URL"])
def test_an_alias_that_means_another_variable_is_an_error(alias: str) -> None:
    with pytest.raises(quorum.ConfigError, match=f"^{alias} \\(declaration\\)"):
        quorum.variable("SHOP_PORT", int, aliases=(alias,))


def test_a_name_that_is_an_alias_of_another_variable_is_an_error() -> None:
    with pytest.raises(quorum.ConfigError, match=r"^REDIS_URL \(declaration\)"):
        quorum.variable("REDIS_URL", str)


def test_quorums_own_variables_cannot_be_declared_otherwise() -> None:
    with pytest.raises(quorum.ConfigError, match=r"^PORT \(declaration\)"):
        quorum.variable("PORT", str)


@pytest.mark.parametrize(
    "name",
    ["", "port", "Port", "1PORT", "_PORT", "A-B", "A.B", "A B", "PORT\n", "PÖRT", "A٢"],
)
def test_a_name_is_of_capital_letters_digits_and_underscores(name: str) -> None:
    with pytest.raises(quorum.ConfigError) as caught:
        quorum.variable(name, int)

    fault = "its name is not of capital letters, digits and underscores."
    assert caught.value.problems == (Problem(name, "declaration", fault),)


@pytest.mark.parametrize("name", ["A", "A1", "A_B_2", "PORT_OF_SHOP_"])
def test_a_good_name_is_accepted(name: str) -> None:
    assert quorum.variable(name, int).name == name


def test_an_alias_has_to_be_a_good_name_too() -> None:
    with pytest.raises(quorum.ConfigError, match=r"^shop \(declaration\)"):
        quorum.variable("SHOP", str, aliases=("shop",))


def test_settings_are_typed(make_app: MakeApp) -> None:
    make_app(SHOP_ITEMS="20", SHOP_TITLE="Books")

    settings = quorum.get_settings(ShopSettings)

    assert (settings.items, settings.title, settings.token) == (20, "Books", None)


def test_settings_are_the_same_object_at_each_call(make_app: MakeApp) -> None:
    make_app()

    first = quorum.get_settings(ShopSettings)

    assert quorum.get_settings(ShopSettings) is first


def test_settings_are_those_of_the_app_in_use(make_app: MakeApp) -> None:
    shop, bank = make_app("shop", SHOP_ITEMS=1), make_app("bank", SHOP_ITEMS=2)

    with shop.app_context():
        of_shop = quorum.get_settings(ShopSettings).items
    with bank.app_context():
        of_bank = quorum.get_settings(ShopSettings).items

    assert (of_shop, of_bank) == (1, 2)


def test_settings_need_a_loaded_app() -> None:
    with pytest.raises(quorum.NotLoadedError):
        quorum.get_settings(ShopSettings)


def test_settings_need_a_context_when_there_are_several_apps(make_app: MakeApp) -> None:
    make_app("shop")
    make_app("bank")

    with pytest.raises(quorum.AppAmbiguousError):
        quorum.get_settings(ShopSettings)


@pytest.mark.parametrize("name", ["items", "title", "other"])
def test_settings_cannot_be_changed(name: str, make_app: MakeApp) -> None:
    make_app()
    settings = quorum.get_settings(ShopSettings)

    with pytest.raises(AttributeError, match=r"^ShopSettings is fixed when"):
        setattr(settings, name, 5)

    assert settings.items == 3


@pytest.mark.parametrize("name", ["items", "title"])
def test_settings_cannot_be_deleted(name: str, make_app: MakeApp) -> None:
    make_app(SHOP_ITEMS=20, SHOP_TITLE="Books")
    settings = quorum.get_settings(ShopSettings)

    with pytest.raises(AttributeError, match=r"^ShopSettings is fixed when"):
        delattr(settings, name)

    assert (settings.items, settings.title) == (20, "Books")


def test_settings_stay_as_they_were_when_the_app_was_loaded(make_app: MakeApp) -> None:
    make_app(SHOP_ITEMS=20)

    with quorum.conf_override("SHOP_ITEMS", 30):
        settings = quorum.get_settings(ShopSettings)

    assert settings.items == 20


def test_settings_do_not_take_part_in_what_confs_changes(make_app: MakeApp) -> None:
    make_app(SHOP_ITEMS=20)
    quorum.confs("SHOP_ITEMS", 30)

    settings = quorum.get_settings(ShopSettings)

    assert (settings.items, quorum.conf("SHOP_ITEMS")) == (20, 30)


def test_a_missing_setting_names_the_variable_and_the_remedy(make_app: MakeApp) -> None:
    make_app()
    settings = quorum.get_settings(ShopSettings)

    with pytest.raises(quorum.SettingMissingError) as caught:
        _ = settings.title

    assert caught.value.name == "SHOP_TITLE"
    assert str(caught.value) == (
        "SHOP_TITLE (not set): it has no value, and it is needed here. Set it to text."
    )


@pytest.mark.parametrize(
    ("getter", "name", "remedy"),
    [
        ("get_redis", "REDISTOGO_URL", "memory:"),
        ("get_mongo", "MONGOHQ_URL", "memory:"),
        ("get_amqp", "CLOUDAMQP_URL", "amqp:"),
        ("get_amazon", "AMAZON_BUCKET", "Set it to text."),
    ],
)
def test_a_service_without_a_location_names_the_variable_and_the_remedy(
    getter: str, name: str, remedy: str, make_app: MakeApp
) -> None:
    make_app()

    with pytest.raises(quorum.SettingMissingError) as caught:
        getattr(quorum, getter)()

    assert caught.value.name == name
    assert remedy in str(caught.value)


def test_settings_tell_which_variables_have_a_value(make_app: MakeApp) -> None:
    make_app(SHOP_TOKEN="hunter22")

    settings = quorum.get_settings(ShopSettings)

    assert settings.has(ShopSettings.items)
    assert settings.has(ShopSettings.token)
    assert not settings.has(ShopSettings.title)


def test_the_repr_of_settings_masks_secrets(make_app: MakeApp) -> None:
    make_app(SHOP_TOKEN="hunter22", SHOP_TITLE="Books")

    shown = repr(quorum.get_settings(ShopSettings))

    assert shown == "ShopSettings(items=3, title='Books', token=***)"


def test_the_repr_of_settings_leaves_out_what_is_missing(make_app: MakeApp) -> None:
    make_app()

    assert "title" not in repr(quorum.get_settings(ShopSettings))


def test_a_class_of_settings_has_the_variables_of_its_bases() -> None:
    class MoreSettings(ShopSettings):
        """More of them."""

        colour: config.Variable[str] = quorum.variable(
            "SHOP_COLOUR", str, default="red"
        )

    names = [declared.name for declared in MoreSettings.variables]

    assert names == ["SHOP_ITEMS", "SHOP_TITLE", "SHOP_TOKEN", "SHOP_COLOUR"]


def test_a_variable_knows_its_class_and_its_attribute() -> None:
    assert ShopSettings.items.owner is ShopSettings
    assert ShopSettings.items.attribute == "items"


def test_a_variable_read_on_the_class_is_the_declaration() -> None:
    assert ShopSettings.items is config.VARIABLES["SHOP_ITEMS"]


def test_a_module_that_is_reloaded_has_working_settings(make_app: MakeApp) -> None:
    make_app(SHOP_TITLE="Books")

    class Reloaded(quorum.Settings):
        """The same declaration as above."""

        title: config.Variable[str] = quorum.variable("SHOP_TITLE", str)

    assert quorum.get_settings(Reloaded).title == "Books"
    assert quorum.get_settings(ShopSettings).title == "Books"
    assert quorum.conf(ShopSettings.title) == "Books"


def test_a_users_variable_has_the_users_parser(make_app: MakeApp) -> None:
    tags = quorum.variable("SHOP_TAGS", comma_separated)

    make_app(SHOP_TAGS="new,red")

    assert quorum.conf(tags) == ["new", "red"]


def test_a_users_parser_tells_what_is_wrong(make_app: MakeApp) -> None:
    quorum.variable("SHOP_TAGS", comma_separated)

    with pytest.raises(quorum.ConfigError) as caught:
        make_app(SHOP_TAGS="new")

    assert str(caught.value) == (
        "SHOP_TAGS (keyword): 'new' is not a value that comma_separated() accepts "
        "(there is no comma in new)."
    )


def test_what_a_users_parser_says_of_a_url_is_said_without_its_password(
    make_app: MakeApp,
) -> None:
    quorum.variable("SHOP_TAGS", comma_separated)

    with pytest.raises(quorum.ConfigError) as caught:
        make_app(SHOP_TAGS="ftp://shop:hunter\n22@example.org")

    assert "hunter" not in str(caught.value)
    assert "example.org" in str(caught.value)


def test_what_a_users_parser_says_of_a_secret_is_hidden(make_app: MakeApp) -> None:
    quorum.variable("SHOP_TAGS", comma_separated, secret=True)

    with pytest.raises(quorum.ConfigError) as caught:
        make_app(SHOP_TAGS="hunter22")

    assert str(caught.value) == (
        "SHOP_TAGS (keyword): its value (hidden) is not a value that "
        "comma_separated() accepts."
    )


class OddError(Exception):
    """An error that nobody expects of a parser."""


@pytest.mark.parametrize(
    "odd",
    [
        KeyError("red"),
        AttributeError("red"),
        RuntimeError(),
        AssertionError("a", "b"),
        StopIteration(1),
        OSError(2, "gone", "red.txt"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        ExceptionGroup("several", [ValueError("red")]),
        OddError("red"),
        quorum.ConfigError(Problem("OTHER", "there", "it is bad.")),
    ],
    ids=lambda odd: type(odd).__name__,
)
def test_whatever_a_users_parser_raises_is_a_config_error_of_the_variable(
    odd: Exception, make_app: MakeApp
) -> None:
    def fail(value: object) -> int:
        raise odd

    quorum.variable("SHOP_ODD", fail)

    with pytest.raises(quorum.ConfigError) as caught:
        make_app(SHOP_ODD="blue")

    (problem,) = caught.value.problems
    assert (problem.name, problem.source) == ("SHOP_ODD", "keyword")
    assert "'blue' is not a value that fail() accepts" in problem.text


def test_a_users_parser_may_still_be_interrupted(make_app: MakeApp) -> None:
    def interrupted(value: object) -> int:
        raise KeyboardInterrupt

    quorum.variable("SHOP_ODD", interrupted)

    with pytest.raises(KeyboardInterrupt):
        make_app(SHOP_ODD="blue")


@pytest.mark.parametrize(
    ("length", "shown"),
    [(78, f"'{'a' * 78}'"), (79, f"'{'a' * 79}…"), (100_000, f"'{'a' * 79}…")],
)
def test_a_long_value_is_shown_in_part(
    length: int, shown: str, make_app: MakeApp
) -> None:
    with pytest.raises(quorum.ConfigError) as caught:
        make_app(SHOP_ITEMS="a" * length)

    assert f": {shown} is not a whole number." in str(caught.value)


def test_what_a_users_parser_says_at_length_is_shown_in_part(
    make_app: MakeApp,
) -> None:
    quorum.variable("SHOP_TAGS", comma_separated)

    with pytest.raises(quorum.ConfigError) as caught:
        make_app(SHOP_TAGS="a" * 100_000)

    assert f"(there is no comma in {'a' * 59}…)" in str(caught.value)


@fuzzed
@hypothesis.given(value=st.text(max_size=10))
def test_any_text_for_a_users_variable_is_parsed_or_a_config_error(value: str) -> None:
    declared = quorum.variable("SHOP_TAGS", comma_separated)

    if "," in value:
        assert declared.parse(value, "environment") == value.split(",")
    else:
        with pytest.raises(quorum.ConfigError, match=r"^SHOP_TAGS \(environment\)"):
            declared.parse(value, "environment")


def test_a_variable_that_is_declared_after_the_load_has_its_value(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_LATE", "7")
    make_app()

    late = quorum.variable("SHOP_LATE", int)

    assert quorum.conf(late) == 7
    assert quorum.conf("SHOP_LATE") == 7


def test_a_variable_that_is_declared_after_the_load_has_its_default(
    make_app: MakeApp,
) -> None:
    make_app()

    quorum.variable("SHOP_LATE", int, default=5)

    assert quorum.conf("SHOP_LATE") == 5


def test_a_variable_that_is_declared_after_it_was_read_as_text_is_typed(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_LATE", "7")
    make_app()
    before = quorum.conf("SHOP_LATE")

    quorum.variable("SHOP_LATE", int)

    assert (before, quorum.conf("SHOP_LATE")) == ("7", 7)


def test_a_bad_value_of_a_variable_declared_after_the_load_is_a_config_error(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_LATE", "seven")
    make_app()
    quorum.variable("SHOP_LATE", int)

    with pytest.raises(quorum.ConfigError, match=r"^SHOP_LATE \(environment\)"):
        quorum.conf("SHOP_LATE")


def test_settings_that_are_declared_after_the_load_have_their_values(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_LATE", "7")
    make_app()

    class LateSettings(quorum.Settings):
        """Declared when the app is loaded already."""

        late: config.Variable[int] = quorum.variable("SHOP_LATE", int)

    assert quorum.get_settings(LateSettings).late == 7


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("PROT", " Did you mean 'PORT'?"),
        ("port", " Did you mean 'PORT'?"),
        ("SMTP_PASWORD", " Did you mean 'SMTP_PASSWORD'?"),
        ("COLOUR", ""),
        ("", ""),
    ],
)
def test_a_name_that_is_close_to_a_known_one_gets_a_question(
    name: str, hint: str
) -> None:
    assert config.did_you_mean(name, ["PORT", "SMTP_PASSWORD"]) == hint


def test_a_variable_needs_no_settings_class(make_app: MakeApp) -> None:
    lonely = quorum.variable("SHOP_LONELY", parsers.choice("red", "green"))

    app = make_app(SHOP_LONELY="GREEN")

    assert isinstance(app, flask.Flask)
    assert quorum.conf(lonely) == "green"
