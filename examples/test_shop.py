"""Tests of a view that counts visits."""

import typing as t
from collections.abc import Iterator

import flask
import pytest

import quorum


def create_app(**variables: t.Any) -> flask.Flask:
    app = quorum.load(flask.Flask("shop"), **variables)

    @app.route("/visits")
    def visits() -> flask.Response:
        return flask.jsonify(visits=quorum.get_redis().incr("visits"))

    return app


@pytest.fixture
def app() -> Iterator[flask.Flask]:
    app = create_app(TESTING=True, REDISTOGO_URL="memory:")
    yield app
    quorum.unload(app=app)


def test_visits_are_counted(app: flask.Flask) -> None:
    client = app.test_client()

    client.get("/visits")
    answer = client.get("/visits")

    assert answer.get_json() == {"visits": 2}
