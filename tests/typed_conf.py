"""What type checkers have to make of the calls that read configuration.

Nothing here runs: a checker reads it, and fails when a type is another one.
"""

import typing as t

import quorum
from quorum import config, parsers


class ShopSettings(quorum.Settings):
    """What a user's own program declares; nobody calls what is inside."""

    if t.TYPE_CHECKING:
        items: config.Variable[int] = quorum.variable("SHOP_ITEMS", int, default=3)
        title: config.Variable[str | None] = quorum.variable(
            "SHOP_TITLE", str, default=None
        )


def comma_separated(value: str) -> list[str]:
    """Be a parser of the user's own."""
    return value.split(",")


def check_declarations() -> None:
    """A declaration has the type that its parser returns."""
    t.assert_type(quorum.variable("A", bool), quorum.Variable[bool])
    t.assert_type(quorum.variable("A", int), quorum.Variable[int])
    t.assert_type(quorum.variable("A", int, default=3), quorum.Variable[int])
    t.assert_type(quorum.variable("A", int, default=None), quorum.Variable[int | None])
    t.assert_type(quorum.variable("A", parsers.seconds), quorum.Variable[float])
    t.assert_type(quorum.variable("A", parsers.choice("a")), quorum.Variable[str])
    t.assert_type(
        quorum.variable("A", parsers.url("redis")), quorum.Variable[parsers.URL]
    )
    t.assert_type(quorum.variable("A", comma_separated), quorum.Variable[list[str]])


def check_names() -> None:
    """A name alone says nothing of the type; text as the default does."""
    t.assert_type(quorum.conf("PORT"), t.Any)
    t.assert_type(quorum.conf("TITLE", None), t.Any)
    t.assert_type(quorum.conf("TITLE", default=None), t.Any)
    t.assert_type(quorum.conf("PORT", 5000), t.Any)
    t.assert_type(quorum.conf("TITLE", "none"), str)
    t.assert_type(quorum.conf("TITLE", default="none"), str)


def check_casts() -> None:
    """A cast says the type; without a default there may be no value."""
    t.assert_type(quorum.conf("PORT", cast=int), int | None)
    t.assert_type(quorum.conf("PORT", None, int), int | None)
    t.assert_type(quorum.conf("PORT", None, cast=int), int | None)
    t.assert_type(quorum.conf("DEBUG", cast=bool), bool | None)
    t.assert_type(quorum.conf("DELAY", cast=parsers.seconds), float | None)
    t.assert_type(quorum.conf("TAGS", cast=comma_separated), list[str] | None)


def check_casts_and_defaults() -> None:
    """With a default there is always a value, of the one type or the other."""
    t.assert_type(quorum.conf("PORT", 5000, int), int)
    t.assert_type(quorum.conf("PORT", 5000, cast=int), int)
    t.assert_type(quorum.conf("PORT", default=5000, cast=int), int)
    t.assert_type(quorum.conf("PORT", "none", int), int | str)
    t.assert_type(quorum.conf("DEBUG", False, bool), bool)
    t.assert_type(quorum.conf("DELAY", 1.5, parsers.number), float)


def check_variables(
    number: quorum.Variable[int], text: quorum.Variable[str | None]
) -> None:
    """A declaration is read as its type."""
    t.assert_type(quorum.conf(number), int)
    t.assert_type(quorum.conf(text), str | None)


def check_settings() -> None:
    """The attributes of settings have the types of their variables."""
    settings = quorum.get_settings(ShopSettings)
    t.assert_type(settings, ShopSettings)
    t.assert_type(settings.items, int)
    t.assert_type(settings.title, str | None)
    t.assert_type(ShopSettings.items, quorum.Variable[int])


def check_listings() -> None:
    """What returns many values returns a dictionary of names."""
    t.assert_type(quorum.confd(), dict[str, t.Any])
    t.assert_type(quorum.conf_prefix("SMTP_"), dict[str, t.Any])
    t.assert_type(quorum.conf_suffix("_URL"), dict[str, t.Any])


def check_misuse() -> None:
    """What cannot work is an error of the checker too."""
    quorum.conf(5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    quorum.conf("PORT", cast=5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    quorum.variable("A", int, True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
