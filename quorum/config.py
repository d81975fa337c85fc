"""Declares configuration variables, and gives them types.

Where their values come from is the business of :mod:`quorum.sources`.
"""

import re
import sys
import typing as t
from collections.abc import Callable, Iterable, Mapping

from quorum.errors import ConfigError, Problem, SettingMissingError
from quorum.parsers import Parser, as_parser, mask_url

T = t.TypeVar("T")

#: Names that other programs use for purposes of their own.
SHARED_NAMES: t.Final = frozenset({"DEBUG", "HOST", "LEVEL", "NAME", "PORT"})

#: The names of all sources, highest first.
SOURCES: t.Final = (
    "keyword",
    "app.config",
    "environment",
    ".env",
    "quorum.json",
    "default",
    "not set",
)

_LONGEST_SHOWN = 80


class Found(t.NamedTuple):
    """The value of a declared variable, and where it came from."""

    #: The typed value; None when there is neither a value nor a default.
    value: t.Any
    #: As it was found; None when the default counts.
    raw: object
    #: Name of the source, or ``'default'``, or ``'not set'``.
    source: str

    @property
    def rank(self) -> int:
        """How far down its source stands; 0 is the highest."""
        return SOURCES.index(self.source)

    @property
    def given(self) -> bool:
        """Whether a source has it."""
        return self.rank < SOURCES.index("default")


class _Missing:
    """The type of :data:`MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


#: The default of a variable that has none.
MISSING: t.Final = _Missing()


class Variable(t.Generic[T]):
    """A declared configuration variable; :func:`variable` makes it.

    As an attribute of a :class:`Settings` class it reads, on the instances, as the
    typed value.
    """

    def __init__(
        self,
        name: str,
        parser: Parser[T],
        default: t.Any,
        secret: bool,
        since: str,
        aliases: tuple[str, ...],
        help: str,
    ) -> None:
        self.name = name
        self.parser = parser
        self.default: T = default
        self.secret = secret
        self.since = since
        self.aliases = aliases
        self.help = help
        files = [f"{spelling}_FILE" for spelling in self.spellings if secret]
        #: Every name that a source may have it under.
        self.keys: frozenset[str] = frozenset((*self.spellings, *files))
        #: Name of the module that declares it.
        self.module: str = ""
        self.attribute: str = ""
        self.owner: type[Settings] | None = None

    @property
    def has_default(self) -> bool:
        """Whether it has a value when no source gives one."""
        return self.default is not MISSING

    @property
    def spellings(self) -> tuple[str, ...]:
        """The name and its aliases."""
        return (self.name, *self.aliases)

    @property
    def hint(self) -> str:
        """What to do when it has no value."""
        return f"Set it to {self.parser.expects}."

    def parse(self, value: object, source: str) -> T:
        """Return the typed value, or raise a ``ConfigError`` that names the variable.

        :param value: The value as it was found, mostly text.
        :param source: Where it was found.
        :returns: The typed value.
        :raises ConfigError: If the parser does not take the value.
        """
        return parse(self.name, self.parser, value, source, self.secret)

    def __set_name__(self, owner: type["Settings"], name: str) -> None:
        self.attribute = name
        self.owner = owner

    @t.overload
    def __get__(self, instance: None, owner: type) -> t.Self: ...
    @t.overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> t.Self | T:
        # A value shadows this in the instance's __dict__: only missing ones get here.
        if instance is None:
            return self
        raise SettingMissingError(self.name, self.hint)

    def __repr__(self) -> str:
        return f"<variable {self.name}>"


def parse(name: str, parser: Parser[T], value: object, source: str, secret: bool) -> T:
    """Return the typed value, or raise a ``ConfigError`` that names the variable.

    :param name: Name of the variable.
    :param parser: What makes the typed value.
    :param value: The value as it was found, mostly text.
    :param source: Where it was found.
    :param secret: Whether the value must not be shown.
    :returns: The typed value.
    :raises ConfigError: If the parser does not take the value, whatever it raises.
    """
    try:
        return parser(value)
    except Exception as error:
        shown = "its value (hidden)" if secret else _shown(value)
        said = (
            "" if secret or not str(error) else f" ({_shortened(mask_url(str(error)))})"
        )
        sentence = f"{shown} is not {parser.expects}{said}."
        if source == "environment" and name in SHARED_NAMES:
            sentence += (
                " Other programs use this name too: "
                f"load({name}=…) puts your value above the environment's."
            )
        problem = Problem(name, source, sentence)
        # The parser's own error may quote the value.
        raise ConfigError(problem) from (None if secret else error)


#: Every declared variable by its name.
VARIABLES: t.Final[dict[str, Variable[t.Any]]] = {}

#: Every declared variable by its name and by its aliases.
SPELLINGS: t.Final[dict[str, Variable[t.Any]]] = {}


#: Called with each variable that is declared.
DECLARED: t.Final[list[Callable[[Variable[t.Any]], None]]] = []


@t.overload
def variable(
    name: str,
    parser: Callable[[t.Any], T],
    *,
    secret: bool = ...,
    since: str = ...,
    aliases: tuple[str, ...] = ...,
    help: str = ...,
) -> Variable[T]: ...
@t.overload
def variable(
    name: str,
    parser: Callable[[t.Any], T],
    *,
    default: None,
    secret: bool = ...,
    since: str = ...,
    aliases: tuple[str, ...] = ...,
    help: str = ...,
) -> Variable[T | None]: ...
@t.overload
def variable(
    name: str,
    parser: Callable[[t.Any], T],
    *,
    default: T,
    secret: bool = ...,
    since: str = ...,
    aliases: tuple[str, ...] = ...,
    help: str = ...,
) -> Variable[T]: ...
def variable(
    name: str,
    parser: Callable[[t.Any], t.Any],
    *,
    default: t.Any = MISSING,
    secret: bool = False,
    since: str = "",
    aliases: tuple[str, ...] = (),
    help: str = "",
) -> Variable[t.Any]:
    """Declare a configuration variable, so that ``load()`` reads and checks it.

    Declaring the same variable again, as a reload of its module does, is allowed as
    long as the facts are the same.

    :param name: Its name, in capital letters, digits and underscores.
    :param parser: ``bool``, ``int``, ``float``, ``str``, a parser of
        :mod:`quorum.parsers`, or a function of your own that takes the value and
        raises ``ValueError`` when it is bad.
    :param default: Its value when no source has one. Without a default, the first
        use of the missing value is a :exc:`SettingMissingError`.
    :param secret: Whether its value is masked wherever quorum shows values. A secret
        variable can also be read from the file that ``<NAME>_FILE`` names.
    :param since: The version that brought the variable.
    :param aliases: Other names that mean the same variable.
    :param help: One sentence on what it is, with its unit.
    :returns: The declaration; keep it as an attribute of a :class:`Settings` class,
        or pass it to :func:`quorum.conf`.
    :raises ConfigError: If the name is no good, or declared already with other facts.
    """
    made: Variable[t.Any] = Variable(
        name, as_parser(parser), default, secret, since, tuple(aliases), help
    )
    made.module = sys._getframe(1).f_globals.get("__name__", "__main__")
    for spelling in made.spellings:
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", spelling):
            fault = "its name is not of capital letters, digits and underscores."
            raise ConfigError(Problem(spelling, "declaration", fault))
        known = SPELLINGS.get(spelling)
        if known is not None and _facts(known) != _facts(made):
            fault = "it is declared already, with other facts. Choose another name."
            raise ConfigError(Problem(spelling, "declaration", fault))
    VARIABLES[name] = made
    SPELLINGS.update(dict.fromkeys(made.spellings, made))
    for tell in DECLARED:
        tell(made)
    return made


class Settings:
    """Typed values of a group of variables, fixed when the app is loaded.

    Subclass it, with a :func:`variable` for each attribute, and read the values of
    the app in use with :func:`quorum.get_settings`.

    :param values: The typed values by the names of their variables; a variable that
        is not in it has no value.
    """

    #: The variables of the class, in the order of their declaration.
    variables: t.ClassVar[tuple[Variable[t.Any], ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = [item for item in vars(cls).values() if isinstance(item, Variable)]
        cls.variables = (*cls.variables, *own)

    def __init__(self, values: Mapping[str, object]) -> None:
        found = {
            v.attribute: values[v.name] for v in self.variables if v.name in values
        }
        vars(self).update(found)

    @classmethod
    def _settle(cls, found: dict[str, Found]) -> Iterable[Problem]:
        """Settle, when an app is loaded, what several variables say together.

        :param found: What the sources have, by the names of the variables; what
            must not count can be replaced here.
        :returns: What is wrong.
        """
        return ()

    def has(self, variable: Variable[t.Any]) -> bool:
        """Return whether a variable of these settings has a value.

        :param variable: One of the variables of this class.
        :returns: Whether reading it gives a value and no error.
        """
        return vars(self).get(variable.attribute) is not None

    def __setattr__(self, name: str, value: object) -> t.NoReturn:
        raise AttributeError(f"{type(self).__name__} is fixed when the app is loaded.")

    def __delattr__(self, name: str) -> t.NoReturn:
        raise AttributeError(f"{type(self).__name__} is fixed when the app is loaded.")

    def __repr__(self) -> str:
        known = {v.attribute: v for v in self.variables}
        shown = (
            f"{name}={'***' if known[name].secret else repr(value)}"
            for name, value in vars(self).items()
        )
        return f"{type(self).__name__}({', '.join(shown)})"


class ServiceSettings(Settings):
    """What the settings of every service have: where it is, and how long to wait."""

    location: Variable[t.Any]
    timeout: Variable[float]

    @property
    def configured(self) -> bool:
        """Whether a variable says where the service is."""
        return self.has(type(self).location)

    @property
    def scheme(self) -> str:
        """What picks the engine: the scheme of the location."""
        return str(self.location.scheme)


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return a question that names the closest candidate, or nothing.

    :param name: The name that nobody knows.
    :param candidates: The names that are known.
    :returns: ``" Did you mean 'PORT'?"``, or ``""``.
    """
    import difflib  # slow to import, and seldom needed

    close = difflib.get_close_matches(name.upper(), list(candidates), 1, 0.75)
    return f" Did you mean '{close[0]}'?" if close else ""


def _facts(variable: Variable[t.Any]) -> tuple[object, ...]:
    """Return what makes two declarations the same one."""
    parser = variable.parser
    return (
        variable.name,
        parser.type_name,
        parser.expects,
        variable.default,
        variable.secret,
        variable.since,
        variable.aliases,
        variable.help,
    )


def _shown(value: object) -> str:
    return _shortened(mask_url(repr(value)))


def _shortened(shown: str) -> str:
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"
