"""What ``load()`` adds to the Flask app that it makes."""

from collections.abc import Iterator

import flask

import quorum
from tests.benchmarks.measuring import Effort, Row, benchmark, compare, timed


@benchmark("load")
def measure_load(effort: Effort) -> Iterator[Row]:
    """Compare ``load()`` with ``flask.Flask()``; the unload does not count."""
    ours = timed(lambda: quorum.load(), lambda app: quorum.unload(app=app))
    limit = timed(lambda: flask.Flask(__name__))
    yield Row("load()", compare(ours, limit, effort), "<= 2")
