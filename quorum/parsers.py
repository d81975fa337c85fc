"""Parsers of configuration values: each takes text and gives a typed value."""

import ipaddress
import json
import math
import re
import typing as t
import urllib.parse
from collections.abc import Callable, Mapping

__all__ = [
    "URL",
    "Parser",
    "boolean",
    "choice",
    "count",
    "host",
    "host_port",
    "integer",
    "key",
    "number",
    "parser",
    "port",
    "seconds",
    "split_port",
    "text",
    "url",
]

T = t.TypeVar("T")
_N = t.TypeVar("_N", int, float)


class Parser(t.Generic[T]):
    """Turns the value of a variable, mostly text, into a typed one.

    :param type_name: Name of the type, as the manual gives it.
    :param expects: What a good value is, to follow the words "is not".
    :param function: Returns the typed value, or raises ``ValueError``.
    """

    def __init__(
        self, type_name: str, expects: str, function: Callable[[t.Any], T]
    ) -> None:
        self.type_name = type_name
        self.expects = expects
        self.function = function

    def __call__(self, value: object) -> T:
        """Return the typed value of ``value``, or raise ``ValueError``."""
        return self.function(value)

    def __repr__(self) -> str:
        return f"<parser of {self.expects}>"


def parser(type_name: str, expects: str) -> Callable[[Callable[[t.Any], T]], Parser[T]]:
    """Make a :class:`Parser` of the decorated function.

    :param type_name: Name of the type, as the manual gives it.
    :param expects: What a good value is, to follow the words "is not".
    :returns: The decorator.
    """
    return lambda function: Parser(type_name, expects, function)


_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True}
_BOOLEANS |= {"0": False, "false": False, "no": False, "off": False}


@parser("boolean", "one of 1/0, true/false, yes/no, on/off")
def boolean(value: object) -> bool:
    """Parse a boolean, in any case; nothing else counts as true or false."""
    return _lookup(_BOOLEANS, str(value).strip().lower())


@parser("integer", "a whole number")
def integer(value: object) -> int:
    """Parse a whole number in ASCII digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(_matching(r"[+-]?[0-9]{1,4300}", value))


@parser("integer", "a whole number above 0")
def count(value: object) -> int:
    """Parse a whole number of at least 1."""
    found = integer(value)
    if found < 1:
        raise ValueError
    return found


@parser("integer", "a whole number from 0 to 65535")
def port(value: object) -> int:
    """Parse a TCP port."""
    return _within(integer(value), 0, 65535)


@parser("number", "a number")
def number(value: object) -> float:
    """Parse a finite number."""
    if isinstance(value, str):
        value = _matching(r"[+-]?[0-9.]+([eE][+-]?[0-9]+)?", value)
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError
    try:
        return _within(float(value), -math.inf, math.inf)
    except OverflowError as error:
        raise ValueError from error


@parser("number", "a number of seconds above 0")
def seconds(value: object) -> float:
    """Parse a time in seconds."""
    return _within(number(value), math.ulp(0.0), math.inf)


@parser("string", "text")
def text(value: object) -> str:
    """Parse text: it stays as it is."""
    if not isinstance(value, str):
        raise ValueError
    return value


@parser("string", "bytes, or text that UTF-8 can express")
def key(value: object) -> str | bytes:
    """Parse the seed of cryptographic operations."""
    if not isinstance(value, bytes):
        text(value).encode()  # fails for bytes of an environment that are no UTF-8
    return t.cast("str | bytes", value)


@parser("string", "a host name or an IP address")
def host(value: object) -> str:
    """Parse a host to bind to or to connect to, without a port."""
    name = text(value).strip()
    if len(name) <= 253 and re.fullmatch(r"\w[\w-]{0,62}(\.[\w-]{1,63})*\.?", name):
        return name
    address = _matching(r"\[?[0-9A-Fa-f:.]+(%[\w.-]+)?\]?", name).strip("[]")
    return str(ipaddress.ip_address(address))


@parser("string", "a host, or host:port")
def host_port(value: object) -> str:
    """Parse a host that may have a port; :func:`split_port` takes them apart."""
    given = _matching(r"\S+", value)
    host(split_port(given)[0])
    return given


def split_port(value: str) -> tuple[str, int | None]:
    """Take ``host``, ``host:port``, ``[IPv6]`` or ``[IPv6]:port`` apart.

    :param value: The host with or without its port.
    :returns: The host, and the port if there is one.
    :raises ValueError: If what follows the colon is no port.
    """
    name, colon, digits = value.rpartition(":")
    if not colon or (":" in name and not name.endswith("]")):
        return value.strip("[]"), None
    return name.strip("[]"), port(digits)


def choice(*words: str) -> Parser[str]:
    r"""Return a parser of one of several words, in any case.

    :param \*words: The words, as the parsed value spells them.
    :returns: The parser.
    """
    spellings = {word.lower(): word for word in words}

    def pick(value: object) -> str:
        return _lookup(spellings, text(value).strip().lower())

    return Parser("string", f"one of {', '.join(words)}", pick)


class URL(str):
    """A URL that shows no password when it is printed with ``repr()``.

    One such as ``memory:``, a scheme with at most a word behind it, hides nothing.
    """

    __slots__ = ()

    @property
    def parts(self) -> urllib.parse.SplitResult:
        """The parts of the URL; user and password are still percent-encoded."""
        return urllib.parse.urlsplit(self)

    @property
    def scheme(self) -> str:
        """What stands before the first colon."""
        return self.partition(":")[0].lower()

    @property
    def _is_open(self) -> bool:
        return re.fullmatch(r"\w+:\w*", self) is not None

    def __repr__(self) -> str:
        return super().__repr__() if self._is_open else f"<URL {self.scheme}:***>"


def url(*schemes: str) -> Parser[URL]:
    r"""Return a parser of URLs.

    :param \*schemes: The schemes that are allowed, as in ``'redis'``.
    :returns: The parser.
    """

    def check(value: object) -> URL:
        found = URL(text(value).strip())
        if found.scheme not in schemes or not found.isprintable() or " " in found:
            raise ValueError
        try:
            parts = found.parts
        except ValueError:
            raise ValueError from None  # its text may have the password
        # What has a meaning in a URL has to be encoded in a password.
        if parts.netloc and ("@" in f"{parts.path}{parts.query}" or parts.fragment):
            raise ValueError
        if parts.netloc.count("@") > 1 or re.search(
            r"%(?![\da-fA-F]{2})", parts.netloc
        ):
            raise ValueError
        if "," not in parts.netloc:
            _ = parts.port  # raises the error when it is not a number
        return found

    names = ", ".join(f"{scheme}:" for scheme in schemes)
    expects = f"a URL that starts with {names}, with any password percent-encoded"
    return Parser("string", expects, check)


def mask_url(shown: str) -> str:
    """Return a text in which nobody sees who logs in to a URL, or with what.

    :param shown: The text; its URLs need not be good ones.
    :returns: The same text when there is nothing to mask.
    """
    return re.sub(r"(?<=://).*@", "***@", shown, flags=re.DOTALL)


def secret_texts(value: object) -> set[str]:
    """Return the forms that a secret may have in a text, to be masked there.

    :param value: The value of a secret variable.
    :returns: The value itself, and the password if it is a URL; each also as
        ``repr()`` and JSON write it.
    """
    if value is None or (isinstance(value, URL) and value._is_open):
        return set()
    plain = {value.decode("latin-1") if isinstance(value, bytes) else str(value)}
    if isinstance(value, bytes):
        plain.add(repr(value)[2:-1])
    if isinstance(value, URL) and value.parts.password:
        password = value.parts.password
        plain |= {password, urllib.parse.unquote(password)}
    written = {repr(item)[1:-1] for item in plain}
    return plain | written | {json.dumps(item)[1:-1] for item in plain}


_BUILT_IN: dict[object, Parser[t.Any]] = {
    bool: boolean,
    int: integer,
    float: number,
    str: text,
}

#: Of text they make letters, which nobody means.
_TAKE_APART: tuple[object, ...] = (list, tuple, set, frozenset)


def as_parser(function: Callable[[t.Any], T]) -> Parser[T]:
    """Return the parser that stands for a type or a function of the user.

    :param function: ``bool``, ``int``, ``float``, ``str``, a parser, or a function
        that takes the value and raises ``ValueError`` when it is bad.
    :returns: The parser; ``bool`` is :data:`boolean`, and so on.
    """
    if isinstance(function, Parser):
        return function
    if isinstance(function, type) and function in _BUILT_IN:
        return _BUILT_IN[function]
    name = getattr(function, "__name__", type(function).__name__)
    if function in _TAKE_APART:
        expects = f"a {name}; pass a function that splits text"
        return Parser(name, expects, _refuse_text(function))
    return Parser(name, f"a value that {name}() accepts", function)


def _lookup(table: Mapping[str, T], word: str) -> T:
    if word not in table:
        raise ValueError
    return table[word]


def _refuse_text(function: Callable[[t.Any], T]) -> Callable[[t.Any], T]:
    def parse(value: object) -> T:
        if isinstance(value, str):
            raise ValueError
        return function(value)

    return parse


def _matching(pattern: str, value: object) -> str:
    found = text(value).strip()
    if not re.fullmatch(pattern, found):
        raise ValueError
    return found


def _within(value: _N, least: float, most: float) -> _N:
    if not (least <= value <= most) or math.isinf(value):
        raise ValueError
    return value
