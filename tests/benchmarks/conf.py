"""What ``conf()`` costs beside a look into a dictionary."""

import contextlib
from collections.abc import Callable, Iterator

import flask

import quorum
from tests.benchmarks.measuring import Effort, Row, benchmark, compare, loaded, timed

_READS: dict[str, Callable[[], object]] = {
    'conf("PORT")': lambda: quorum.conf("PORT"),
    'conf("X", 1, int)': lambda: quorum.conf("X", 1, int),
    'conf("MISSING")': lambda: quorum.conf("MISSING"),
}


@benchmark("conf")
def measure_conf(effort: Effort) -> Iterator[Row]:
    """Compare with ``dict.get``, outside of contexts and inside of one."""
    table = {"PORT": 5000}
    limit = timed(lambda: table.get("PORT"))
    app = flask.Flask(__name__)
    app.config["X"] = "7"
    outside, inside = contextlib.nullcontext(), app.app_context()
    with loaded(app):
        for place, context, goal in (
            ("no context", outside, "<= 3"),
            ("app context", inside, "<= 6"),
        ):
            with context:
                for name, read in _READS.items():
                    ratio = compare(timed(read), limit, effort)
                    yield Row(f"{name}, {place}", ratio, goal)
        yield Row("casts by later reads", _count_later_casts(), "<= 0")


def _count_later_casts() -> int:
    """Return how often later reads call the cast that the first read has called."""
    casts: list[object] = []

    def cast(value: object) -> object:
        casts.append(value)
        return value

    quorum.conf("X", None, cast)
    first = len(casts)
    for _ in range(3):
        quorum.conf("X", None, cast)
    return len(casts) - first
