import typing as t
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from members import create_app
from models import Member

import quorum

ANN: dict[str, t.Any] = {"name": "Ann", "email": "ann@example.org", "age": 36}


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    app = create_app(MONGOHQ_URL="memory:shop")
    yield app.test_client()
    quorum.unload(app=app)


def test_a_member_is_added_and_found(client: FlaskClient) -> None:
    added = client.post("/members", json=ANN)
    found = client.get("/members?age=36").get_json()

    assert added.status_code == 201
    assert found == [added.get_json()]


def test_every_bad_field_is_told(client: FlaskClient) -> None:
    answer = client.post("/members", json={"email": "ann", "age": -1})

    assert answer.status_code == 400
    faults = answer.get_json()["faults"]
    assert [fault["loc"] for fault in faults] == [["name"], ["email"], ["age"]]


def test_an_address_is_taken_once(client: FlaskClient) -> None:
    client.post("/members", json=ANN)

    answer = client.post("/members", json=ANN)

    assert answer.status_code == 409
    assert "'email'" in answer.get_json()["error"]


def test_what_is_no_field_is_refused(client: FlaskClient) -> None:
    assert client.get("/members?age=old").status_code == 400
    assert client.post("/members", json={**ANN, "admin": True}).status_code == 400
    assert client.post("/members", json={**ANN, "name": {"$ne": 1}}).status_code == 400


def test_a_change_is_stored(client: FlaskClient) -> None:
    member = client.post("/members", json=ANN).get_json()

    answer = client.patch(f"/members/{member['id']}", json={"age": 37})

    assert answer.get_json()["age"] == 37
    with client.application.app_context():
        assert Member.exists(email="ann@example.org", age=37, version=2)
