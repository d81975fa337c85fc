"""The benchmarks run; their exact counts are asserted, their times are not."""

import json
import math
import pathlib
import re
from collections.abc import Callable

import pytest

from tests.benchmarks import find_benchmarks
from tests.benchmarks.__main__ import main
from tests.benchmarks.imports import find_added_modules, find_libraries
from tests.benchmarks.mail import open_raw, send_ours, serving
from tests.benchmarks.measuring import (
    SERVED,
    Effort,
    Ratio,
    Row,
    compare,
    count_calls,
    loaded,
    timed,
)
from tests.benchmarks.request import answer, log_and_answer, make_app, make_requester
from tests.servers import SmtpServer

SHORT = Effort(seconds=0, rounds=1)
_SIGNS = str.maketrans({"≤": "<=", "≥": ">="})
PAGE = pathlib.Path(__file__).parent.parent / "doc/source/performance.rst"


def find_told(text: str) -> dict[str, dict[str, str]]:
    """Return the measures that the manual has of each benchmark, and their goals."""
    told: dict[str, dict[str, str]] = {}
    for part in re.split("^Benchmark ", text, flags=re.MULTILINE)[1:]:
        rows = re.findall(r"   \* - ``(.+)``\n     - (.+)\n", part)
        told[part.split("``")[1]] = {
            name: goal.translate(_SIGNS).removeprefix("none") for name, goal in rows
        }
    return told


def find_false(text: str, benchmark: str, rows: list[Row]) -> set[str]:
    """Return the measures of the manual that a benchmark has not, or not so."""
    kinds = re.compile(" on (memory|ferretdb|mongod|given)$")
    goals = {kinds.sub("", row.name): row.goal for row in rows}
    # What is printed with a server or a peer only.
    rare = re.compile("^round trips,|Flask-|MongoEngine")
    return {
        name
        for name, goal in find_told(text)[benchmark].items()
        if (key := kinds.sub("", name)) in goals or not rare.search(name)
        if goals.get(key) != goal
    }


@pytest.mark.parametrize("name", sorted(set(find_benchmarks()) - SERVED))
def test_benchmark_gives_its_rows_and_keeps_its_counts_in_bounds(name: str) -> None:
    rows = list(find_benchmarks()[name](SHORT))

    assert rows
    assert len({row.name for row in rows}) == len(rows)
    assert all(math.isfinite(row.value) for row in rows)
    assert [row for row in rows if row.exact and not row.ok] == []
    assert find_false(PAGE.read_text(), name, rows) == set()


def test_the_manual_has_every_benchmark() -> None:
    told = find_told(PAGE.read_text())

    # The one of dramatiq needs a server to be there at all.
    assert told.keys() == {*find_benchmarks(), "dramatiq"}
    assert all(told.values())


@pytest.mark.parametrize(
    ("old", "new", "false"),
    [
        ("``load()``\n     - ≤ 2\n", "``load()``\n     - ≤ 1\n", "load()"),
        ("``load()``\n", "``unload()``\n", "unload()"),
    ],
)
def test_a_false_measure_of_the_manual_is_found(old: str, new: str, false: str) -> None:
    text = PAGE.read_text()
    assert old in text
    rows = list(find_benchmarks()["load"](SHORT))

    assert find_false(text, "load", rows) == set()
    assert find_false(text.replace(old, new), "load", rows) == {false}


def test_import_quorum_imports_no_client_of_third_parties() -> None:
    added = find_added_modules("import quorum")

    assert "quorum" in added
    assert find_libraries(added) == set()


@pytest.mark.parametrize("view", [answer, log_and_answer])
def test_request_makes_few_calls_above_those_of_plain_flask(
    view: Callable[[], str],
) -> None:
    plain = make_requester(make_app(answer))

    with loaded(make_app(view), LEVEL="WARNING") as app:
        request = make_requester(app)

        assert request() == plain() == b"Hello."
        assert count_calls(request) - count_calls(plain) <= 20


@pytest.mark.parametrize("rich", [False, True])
def test_mail_is_held_against_the_very_same_mail(rich: bool) -> None:
    server = SmtpServer(mode="plain")

    with serving(server), open_raw(server, rich) as send_raw:
        send_ours(rich)
        send_raw()
        ours, raw = (mail.message for mail in server.received)

    assert ours.keys() == raw.keys()
    for part, limit in zip(ours.walk(), raw.walk(), strict=True):
        assert part.get_content_type() == limit.get_content_type()
        if not part.is_multipart():
            assert part.get_content() == limit.get_content()


def test_libraries_are_neither_quorum_nor_of_python() -> None:
    modules = {"json.decoder", "quorum.config", "redis", "redis.asyncio"}

    assert find_libraries(modules) == {"redis"}


def test_calls_of_python_and_of_c_are_counted() -> None:
    def call() -> None:
        len("")
        (lambda: None)()

    assert count_calls(call) - count_calls(lambda: None) == 2


def test_time_to_undo_does_not_count() -> None:
    undone: list[str] = []

    seconds = timed(lambda: "made", undone.append)(3)

    assert seconds > 0
    assert undone == ["made"] * 3


def test_ratio_is_of_neighbouring_chunks() -> None:
    assert compare(lambda _: 3.0, lambda _: 2.0, SHORT) == Ratio(1.5, 1, 0)
    assert compare(lambda _: 2.0, lambda _: 3.0, SHORT, rates=True) == Ratio(1.5, 1, 0)


@pytest.mark.parametrize(
    ("goal", "ok"), [("<= 2", True), ("<= 1", False), (">= 3", False), ("", True)]
)
def test_row_says_whether_its_goal_is_reached(goal: str, ok: bool) -> None:
    assert Row("calls", 2, goal).ok is ok


def test_table_and_json_show_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    main(["load", "--seconds", "0"])
    table, progress = capsys.readouterr()
    main(["load", "--seconds", "0", "--json"])
    (row,) = json.loads(capsys.readouterr().out)

    assert "load()" in table
    assert "load()" in progress
    assert (row["benchmark"], row["name"], row["goal"]) == ("load", "load()", "<= 2")


def test_unknown_name_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["lode"])

    assert "'lode' is no benchmark" in capsys.readouterr().err
