import decimal
import math
import re
import traceback
import typing as t

import hypothesis
import pytest
from hypothesis import strategies as st

from quorum import config, loading, parsers
from quorum.errors import ConfigError
from quorum.service import Service

fuzzed = hypothesis.settings(max_examples=60, derandomize=True, deadline=None)

PARSERS: dict[str, tuple[parsers.Parser[t.Any], type | tuple[type, ...]]] = {
    "boolean": (parsers.boolean, bool),
    "integer": (parsers.integer, int),
    "count": (parsers.count, int),
    "port": (parsers.port, int),
    "number": (parsers.number, float),
    "seconds": (parsers.seconds, float),
    "text": (parsers.text, str),
    "key": (parsers.key, (str, bytes)),
    "host": (parsers.host, str),
    "host_port": (parsers.host_port, str),
    "choice": (parsers.choice("red", "Green"), str),
    "url": (parsers.url("redis", "memory"), parsers.URL),
}

#: The Python type behind the name of a type, as the manual gives it.
TYPES: dict[str, type] = {"boolean": bool, "integer": int, "number": float}
TYPES["list"] = tuple

#: Text as people write it, near misses, and any text at all.
some_text = st.one_of(
    st.text(),
    st.text("+-0123456789._eE x", max_size=8),
    st.text("[]:%.0123456789abcdefg ", max_size=20),
    st.text("redis:/memory@?#[]%1, \t", max_size=20).map("redis://".__add__),
    st.sampled_from(["on", "OFF", "nan", "inf", "-0", "1e999", "::1", "h:25"]),
)


def accepts(parser: parsers.Parser[t.Any], value: object) -> bool:
    try:
        parser(value)
    except ValueError:
        return False
    return True


def test_every_parser_of_the_module_is_tried_here() -> None:
    there = {
        name for name, item in vars(parsers).items() if isinstance(item, parsers.Parser)
    }

    assert there | {"choice", "url"} == set(PARSERS)


@pytest.mark.parametrize("name", PARSERS)
@fuzzed
@hypothesis.given(value=some_text)
def test_any_text_is_parsed_or_is_a_config_error_that_names_the_variable(
    name: str, value: str
) -> None:
    parser, kind = PARSERS[name]

    try:
        parsed = config.parse("SHOP_ANY", parser, value, "environment", secret=False)
    except ConfigError as error:
        (problem,) = error.problems
        assert problem.name == "SHOP_ANY"
        assert problem.source == "environment"
        assert parser.expects in problem.text
    else:
        assert isinstance(parsed, kind)


@pytest.mark.parametrize("name", PARSERS)
@fuzzed
@hypothesis.given(
    value=st.one_of(
        st.none(),
        st.binary(),
        st.integers(),
        st.floats(),
        st.just(10**400),
        st.lists(st.integers()),
        st.dictionaries(st.text(), st.none()),
    )
)
def test_any_other_value_is_parsed_or_is_a_value_error(
    name: str, value: object
) -> None:
    parser, kind = PARSERS[name]

    try:
        parsed = parser(value)
    except ValueError:
        return

    assert isinstance(parsed, kind)


@pytest.mark.parametrize("name", config.VARIABLES)
@fuzzed
@hypothesis.given(value=some_text)
def test_any_text_is_a_value_of_the_declared_type_or_a_config_error(
    name: str, value: str
) -> None:
    declared = config.VARIABLES[name]
    kind = TYPES.get(declared.parser.type_name, str)

    try:
        parsed = declared.parse(value, "environment")
    except ConfigError as error:
        at_fault = [problem.name for problem in error.problems]
    else:
        at_fault = [name]
        assert isinstance(parsed, kind)

    assert at_fault == [name]


@pytest.mark.parametrize(
    "declared",
    [item for item in config.VARIABLES.values() if item.has_default and item.default],
    ids=repr,
)
def test_every_declared_default_is_what_its_own_parser_makes_of_it(
    declared: config.Variable[t.Any],
) -> None:
    parsed = declared.parse(declared.default, "default")

    assert parsed == declared.default
    assert type(parsed) is type(declared.default)


def cased(word: str) -> st.SearchStrategy[str]:
    letters = [st.sampled_from([letter.lower(), letter.upper()]) for letter in word]
    return st.tuples(*letters).map("".join)


TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@pytest.mark.parametrize("word", TRUE)
@fuzzed
@hypothesis.given(data=st.data())
def test_a_boolean_is_true_for_four_words_in_any_case(
    word: str, data: st.DataObject
) -> None:
    assert parsers.boolean(data.draw(cased(word))) is True


@pytest.mark.parametrize("word", FALSE)
@fuzzed
@hypothesis.given(data=st.data())
def test_a_boolean_is_false_for_four_words_in_any_case(
    word: str, data: st.DataObject
) -> None:
    assert parsers.boolean(data.draw(cased(word))) is False


@fuzzed
@hypothesis.given(
    word=st.one_of(some_text, st.text("10trueyesonfalff", max_size=5))
    | st.sampled_from(["y", "n", "t", "f", "2", "-1", "01", "1.0", "None", "enabled"])
)
def test_a_boolean_is_none_of_any_other_word(word: str) -> None:
    hypothesis.assume(word.strip().lower() not in {*TRUE, *FALSE})

    with pytest.raises(ValueError, match=r"^$"):
        parsers.boolean(word)


@pytest.mark.parametrize(
    ("value", "parsed"), [(True, True), (False, False), (0, False), (1, True)]
)
def test_a_boolean_of_json_or_python_stays_one(value: object, parsed: bool) -> None:
    assert parsers.boolean(value) is parsed


@pytest.mark.parametrize("value", [2, -1, 1.0, None, b"1", []])
def test_a_boolean_is_no_other_value(value: object) -> None:
    assert not accepts(parsers.boolean, value)


@fuzzed
@hypothesis.given(value=st.integers())
def test_an_integer_is_read_as_it_is_written(value: int) -> None:
    assert parsers.integer(str(value)) == value


@pytest.mark.parametrize("value", ["", "1.0", "1e3", "1_000", "0x10", "١٢", "1 2"])
def test_an_integer_is_written_in_ascii_digits_only(value: str) -> None:
    assert not accepts(parsers.integer, value)


@pytest.mark.parametrize("value", [True, 1.0, None, b"1"])
def test_an_integer_is_no_boolean_and_no_other_kind_of_value(value: object) -> None:
    assert not accepts(parsers.integer, value)


def test_an_integer_of_too_many_digits_is_refused() -> None:
    assert not accepts(parsers.integer, "9" * 5000)


@pytest.mark.parametrize("value", ["1", 1, "8", 10**9])
def test_a_count_is_an_integer_above_0(value: object) -> None:
    assert parsers.count(value) == int(str(value))


@pytest.mark.parametrize("value", ["0", 0, "-1", "1.0", True])
def test_a_count_is_nothing_below(value: object) -> None:
    assert not accepts(parsers.count, value)


@pytest.mark.parametrize("value", ["0", "65535", 8080])
def test_a_port_is_from_0_to_65535(value: object) -> None:
    assert parsers.port(value) == int(str(value))


@pytest.mark.parametrize("value", ["-1", "65536", 65536, "http", True])
def test_a_port_is_nothing_beyond(value: object) -> None:
    assert not accepts(parsers.port, value)


@fuzzed
@hypothesis.given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_as_it_is_written(value: float) -> None:
    assert parsers.number(repr(value)) == value


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity", "1e999"])
def test_a_number_is_finite(value: str) -> None:
    assert not accepts(parsers.number, value)


@pytest.mark.parametrize("value", ["1_000", "١٢"])
def test_a_number_is_written_in_ascii_digits_only_as_an_integer_is(value: str) -> None:
    assert not accepts(parsers.number, value)


@pytest.mark.parametrize("value", [True, None, b"1", [1]])
def test_a_number_is_no_other_kind_of_value(value: object) -> None:
    assert not accepts(parsers.number, value)


def test_a_number_too_large_for_a_float_is_refused() -> None:
    assert not accepts(parsers.number, 10**400)


@pytest.mark.parametrize(
    ("value", "parsed"), [("0.25", 0.25), (3, 3.0), ("5e-324", 5e-324)]
)
def test_seconds_are_a_number(value: object, parsed: float) -> None:
    found = parsers.seconds(value)

    assert (found, type(found)) == (parsed, float)


@pytest.mark.parametrize("value", ["0", "-0.0", "-1", 0, "nan", "inf", "10s"])
def test_seconds_are_above_0(value: object) -> None:
    assert not accepts(parsers.seconds, value)


@pytest.mark.parametrize(
    ("parser", "parsed"),
    [
        (parsers.boolean, True),
        (parsers.integer, 1),
        (parsers.count, 1),
        (parsers.port, 1),
        (parsers.number, 1.0),
        (parsers.seconds, 1.0),
        (parsers.host, "1"),
        (parsers.host_port, "1"),
        (parsers.choice("1", "2"), "1"),
    ],
    ids=repr,
)
def test_whitespace_around_a_value_does_not_count(
    parser: parsers.Parser[t.Any], parsed: object
) -> None:
    assert parser(" \t1\r\n") == parsed


@fuzzed
@hypothesis.given(value=st.text())
def test_text_stays_as_it_is(value: str) -> None:
    assert parsers.text(value) == value


@pytest.mark.parametrize("value", [1, None, b"text", ["text"]])
def test_text_is_nothing_else(value: object) -> None:
    assert not accepts(parsers.text, value)


@pytest.mark.parametrize("value", ["seed", b"\x00\xffseed"])
def test_a_key_is_text_or_bytes_and_stays_as_it_is(value: str | bytes) -> None:
    assert parsers.key(value) == value


@pytest.mark.parametrize("value", [1, None, ["seed"], "se\udcffed"])
def test_a_key_is_nothing_else(value: object) -> None:
    assert not accepts(parsers.key, value)


#: Of 253 characters, in labels of at most 63.
LONGEST_HOST = ".".join(["h" * 61, "h" * 63, "h" * 63, "h" * 63])


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("localhost", "localhost"),
        ("db_1.internal.example.org", "db_1.internal.example.org"),
        (" localhost ", "localhost"),
        (LONGEST_HOST, LONGEST_HOST),
        ("0.0.0.0", "0.0.0.0"),
        ("::", "::"),
        ("[::1]", "::1"),
        ("2001:DB8::0001", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_a_host_is_a_name_or_an_ip_address(value: str, parsed: str) -> None:
    assert parsers.host(value) == parsed


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-h",
        "a b",
        "a/b",
        "host:25",
        "http://host",
        "user@host",
        "[host]",
        "::g",
        "::1%a b",
        "::1%a\r\nX: y",
        "h" * 64,
        f"h{LONGEST_HOST}",
        "ho\nst",
        None,
        127,
    ],
)
def test_a_host_has_no_port_and_nothing_else_in_it(value: object) -> None:
    assert not accepts(parsers.host, value)


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("mail.example.org", ("mail.example.org", None)),
        ("mail.example.org:587", ("mail.example.org", 587)),
        ("127.0.0.1:25", ("127.0.0.1", 25)),
        ("::1", ("::1", None)),
        ("[::1]", ("::1", None)),
        ("[::1]:2525", ("::1", 2525)),
        ("2001:db8::1:25", ("2001:db8::1:25", None)),
    ],
)
def test_a_host_may_have_a_port(value: str, parts: tuple[str, int | None]) -> None:
    assert parsers.split_port(parsers.host_port(value)) == parts


@pytest.mark.parametrize(
    "value",
    ["", ":25", "host:", "host:smtp", "host:65536", "host:25:26", "[::1]:", "a b:25"],
)
def test_a_host_with_a_bad_port_is_refused(value: str) -> None:
    assert not accepts(parsers.host_port, value)


@pytest.mark.parametrize("value", ["host :25", "host: 25", "[::1] :25"])
def test_a_host_with_a_port_has_no_spaces(value: str) -> None:
    assert not accepts(parsers.host_port, value)


@fuzzed
@hypothesis.given(value=some_text)
def test_whatever_is_accepted_as_a_host_with_a_port_can_be_taken_apart(
    value: str,
) -> None:
    try:
        parsed = parsers.host_port(value)
    except ValueError:
        return

    found, port = parsers.split_port(parsed)

    assert accepts(parsers.host, found)
    assert port is None or 0 <= port <= 65535


@pytest.mark.parametrize("word", ["Green", "GREEN", " green "])
def test_a_choice_comes_back_as_it_was_declared(word: str) -> None:
    assert parsers.choice("red", "Green")(word) == "Green"


@pytest.mark.parametrize("word", ["", "blue", "re", None, 1])
def test_a_choice_is_none_of_other_words(word: object) -> None:
    assert not accepts(parsers.choice("red", "Green"), word)


def test_a_choice_says_what_can_be_chosen() -> None:
    assert parsers.choice("red", "Green").expects == "one of red, Green"


any_url = parsers.url("redis", "mongodb", "unix", "memory")


@pytest.mark.parametrize(
    "value",
    [
        "redis://localhost",
        "redis://localhost:6379/0?db=1",
        "redis://[::1]:6379/0",
        "redis://:p%2Fa%40ss@localhost:6379",
        "redis://user:p:w@localhost",
        "REDIS://localhost",
        "mongodb://a:27017,b:27018,c/shop?replicaSet=rs",
        "unix:///run/redis.sock?db=1",
        "unix:///run/shop@1/redis.sock",
        "memory:",
        "memory:shop",
    ],
)
def test_a_url_stays_as_it_is(value: str) -> None:
    assert any_url(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        "localhost",
        "localhost:6379",
        "://localhost",
        "http://localhost",
        "redis://localhost:port",
        "redis://localhost:70000",
        "redis://[::1",
        "redis://local host",
        "redis://local\x00host",
        None,
        6379,
    ],
)
def test_a_url_has_a_known_scheme_and_a_port_that_is_one(value: object) -> None:
    assert not accepts(any_url, value)


def test_a_url_loses_the_line_break_of_the_file_it_came_from() -> None:
    assert any_url(" redis://localhost\n") == "redis://localhost"


#: Each holds a character that has to be percent-encoded in a URL.
UNENCODED = ["hunt/er22", "hunt?er22", "hunt#er22", "hunt er22", "hunt[er22"]
UNENCODED += ["hunt]er22", "hunt@er22", "hunt%er22", "/hunter22", "hunter22#"]
UNENCODED += ["22/hunter", "22?hunter", "22#hunter"]


@pytest.mark.parametrize("password", UNENCODED)
def test_a_url_with_an_unencoded_password_is_refused(password: str) -> None:
    assert not accepts(any_url, f"redis://shop:{password}@localhost:6379/0")


@pytest.mark.parametrize("secret", [True, False])
@pytest.mark.parametrize("password", [*UNENCODED, "hunter22\uff0f"])
def test_a_url_that_is_refused_shows_no_password(password: str, secret: bool) -> None:
    value = f"redis://shop:{password}@localhost:6379/0"

    with pytest.raises(ConfigError) as caught:
        config.parse("SHOP_URL", any_url, value, "environment", secret=secret)

    assert password not in repr(caught.value)
    assert password not in "".join(traceback.format_exception(caught.value))
    assert "percent-encoded" in str(caught.value)


def test_a_url_with_a_password_is_not_shown_where_a_host_is_wanted() -> None:
    value = "smtp://shop:hunter22@localhost"

    with pytest.raises(ConfigError) as caught:
        config.parse("SMTP_HOST", parsers.host_port, value, "keyword", secret=False)

    assert "hunter22" not in str(caught.value)


def test_a_url_shows_its_scheme_only_in_its_repr() -> None:
    parsed = any_url("redis://shop:hunter22@localhost")

    assert repr([parsed]) == "[<URL redis:***>]"


@pytest.mark.parametrize("value", ["memory:", "memory:shop"])
def test_a_url_that_is_a_word_hides_nothing(value: str) -> None:
    assert repr(any_url(value)) == repr(value)


@pytest.mark.parametrize(
    ("value", "forms"),
    [
        (None, set()),
        (parsers.URL("memory:shop"), set()),
        ("hunter22", {"hunter22"}),
        (2222, {"2222"}),
        ('"é"\n', {'"é"\n', r'"é"\n', r"\"\u00e9\"\n"}),
        (
            b"\0\xe9'",
            {"\0é'", r"\x00\xe9'", r"\x00é'", r"\\x00\\xe9'", r"\u0000\u00e9'"},
        ),
        (parsers.URL("redis://shop@localhost"), {"redis://shop@localhost"}),
        (
            parsers.URL("redis://shop:p%40ss@localhost"),
            {"redis://shop:p%40ss@localhost", "p%40ss", "p@ss"},
        ),
    ],
    ids=repr,
)
def test_a_secret_is_masked_in_every_form_it_is_written_in(
    value: object, forms: set[str]
) -> None:
    assert parsers.secret_texts(value) == forms


def test_a_url_can_be_taken_apart() -> None:
    parsed = any_url("REDIS://shop:p%40ss@localhost:6380/1")

    assert parsed.scheme == "redis"
    assert parsed.parts.hostname == "localhost"
    assert parsed.parts.port == 6380
    assert parsed.parts.password == "p%40ss"


def test_what_a_url_should_be_names_every_scheme() -> None:
    assert "redis:, memory:" in parsers.url("redis", "memory").expects


@pytest.mark.parametrize(
    ("kind", "parser"),
    [
        (bool, parsers.boolean),
        (int, parsers.integer),
        (float, parsers.number),
        (str, parsers.text),
    ],
)
def test_a_built_in_type_stands_for_the_parser_of_it(
    kind: type, parser: parsers.Parser[t.Any]
) -> None:
    assert parsers.as_parser(kind) is parser


def test_a_parser_stands_for_itself() -> None:
    assert parsers.as_parser(parsers.port) is parsers.port


def test_a_class_of_the_user_becomes_a_parser_named_after_it() -> None:
    parser = parsers.as_parser(decimal.Decimal)

    assert parser("0.10") == decimal.Decimal("0.10")
    assert parser.type_name == "Decimal"


def test_a_function_of_the_user_becomes_a_parser_named_after_it() -> None:
    parser = parsers.as_parser(math.sqrt)

    assert parser(9) == 3.0
    assert parser.type_name == "sqrt"
    assert parser.expects == "a value that sqrt() accepts"


class Between:
    """A parser of the user that is equal to others, and so cannot be hashed."""

    def __init__(self, least: int, most: int) -> None:
        self.bounds = (least, most)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Between) and other.bounds == self.bounds

    def __call__(self, value: object) -> int:
        least, most = self.bounds
        return max(least, min(int(str(value)), most))


def test_an_object_of_the_user_that_can_be_called_becomes_a_parser() -> None:
    parser = parsers.as_parser(Between(1, 5))

    assert parser("9") == 5
    assert parser.type_name == "Between"


def test_a_parser_says_what_it_parses() -> None:
    assert repr(parsers.port) == "<parser of a whole number from 0 to 65535>"


def test_a_parser_of_the_user_says_what_it_expects() -> None:
    @parsers.parser("colour", "a colour")
    def colour(value: object) -> str:
        return parsers.choice("red", "green")(value)

    with pytest.raises(ConfigError, match="'blue' is not a colour"):
        config.parse("SHOP_COLOUR", colour, "blue", "keyword", secret=False)


@pytest.mark.parametrize("service", loading.SERVICES, ids=repr)
def test_the_variables_of_every_service_are_tried_here(
    service: Service[t.Any, t.Any],
) -> None:
    names = {declared.name for declared in service.settings.variables}

    assert names <= set(config.VARIABLES)
    assert {"location", "timeout"} <= {
        declared.attribute for declared in service.settings.variables
    }


def test_the_words_of_booleans_are_those_that_are_told() -> None:
    told = set(re.findall(r"\w+", parsers.boolean.expects)) - {"one", "of"}

    assert told == set(parsers._BOOLEANS)


def test_a_time_may_be_as_long_as_one_likes() -> None:
    assert parsers.seconds("1e9") == 1e9
