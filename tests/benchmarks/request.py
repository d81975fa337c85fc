"""What a request to a loaded app costs beside one to the same plain Flask app."""

import typing as t
from collections.abc import Callable, Iterator

import flask
from werkzeug.test import create_environ

import quorum
from tests.benchmarks import measuring
from tests.benchmarks.measuring import Effort, Row, benchmark, count_calls, timed


@benchmark("request")
def measure_request(effort: Effort) -> Iterator[Row]:
    """Compare a view that logs nothing, and one that logs below the level."""
    plain = make_requester(make_app(answer))
    calls = count_calls(plain)
    yield Row("calls of plain Flask", calls)
    for name, view in (("logs nothing", answer), ("logs below LEVEL", log_and_answer)):
        with measuring.loaded(make_app(view), LEVEL="WARNING") as app:
            request = make_requester(app)
            rates = measuring.compare(timed(request), timed(plain), effort, rates=True)
            yield Row(f"rate, view {name}", rates, ">= 0.95")
            above = count_calls(request) - calls
            yield Row(f"calls above plain, view {name}", above, "<= 20")


def answer() -> str:
    """Answer, and do nothing else."""
    return "Hello."


def log_and_answer() -> str:
    """Log a message that is not kept, and answer."""
    quorum.info("Hello, %s.", "world")
    return "Hello."


def make_app(view: Callable[[], str]) -> flask.Flask:
    """Return a plain Flask app with one view."""
    app = flask.Flask(__name__)
    app.add_url_rule("/", "view", view)
    return app


def make_requester(app: flask.Flask) -> Callable[[], bytes]:
    """Return a function that makes the app answer, as a WSGI server does."""
    environ = create_environ("/")

    def request() -> bytes:
        parts: t.Any = app(dict(environ), lambda *arguments: t.cast(t.Any, None))
        try:
            return b"".join(parts)
        finally:
            parts.close()

    return request
