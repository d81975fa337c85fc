import re
from collections.abc import Iterator

import flask
import pytest
from flask.testing import FlaskClient
from newsletter import create_app

import quorum
from quorum.testing import Delivered, join_tasks, outbox


@pytest.fixture
def app() -> Iterator[flask.Flask]:
    app = create_app(
        MONGOHQ_URL="memory:newsletter",
        REDISTOGO_URL="memory:",
        SMTP_URL="memory:",
        QUEUE_URL="thread:",
        SECRET_KEY="of the tests",
        NEWSLETTER_PASSWORD="secret",
    )
    with app.app_context():
        yield app
    quorum.unload(app=app)


@pytest.fixture
def client(app: flask.Flask) -> FlaskClient:
    return app.test_client()


def subscribe(client: FlaskClient, email: str) -> str:
    """Return the path of the link in the mail."""
    outbox().clear()
    client.post("/", data={"email": email})
    join_tasks()
    found = re.search(r"/confirm/\S+", text_of(outbox()[0]))
    assert found is not None
    return found[0]


def text_of(message: Delivered) -> str:
    return str(message.get_content())


def test_an_issue_goes_to_those_who_have_confirmed(client: FlaskClient) -> None:
    client.post(subscribe(client, "ann@example.org"))
    subscribe(client, "bea@example.org")
    outbox().clear()

    client.post("/login", data={"password": "secret"})
    issue = client.post("/issues", data={"title": "Hello", "text": "It is spring."})
    join_tasks()

    assert "Sent to 1 of 1." in client.get(issue.location).text
    (message,) = outbox()
    assert message.envelope_to == ("ann@example.org",)
    assert "It is spring." in text_of(message)


def test_who_leaves_is_forgotten(client: FlaskClient) -> None:
    link = subscribe(client, "ann@example.org").replace("confirm", "leave")

    client.post(link)

    assert client.get(link).status_code == 404


def test_what_is_no_address_gets_no_mail(client: FlaskClient) -> None:
    for email in ("ann", "ann@example..org", "ann@example..org"):
        assert client.post("/", data={"email": email}).status_code == 400
    assert outbox() == []


def test_only_the_editor_sends(client: FlaskClient) -> None:
    wrong = client.post("/login", data={"password": "guess"})
    answer = client.post("/issues", data={"title": "Hello", "text": "Buy this."})

    assert wrong.status_code == 403
    assert answer.location == "/login"
