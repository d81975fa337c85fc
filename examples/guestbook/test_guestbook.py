from collections.abc import Iterator

import flask
import pytest
from guestbook import create_app

import quorum


@pytest.fixture
def app() -> Iterator[flask.Flask]:
    app = create_app(REDISTOGO_URL="memory:", GUESTBOOK_SHOWN="2")
    yield app
    quorum.unload(app=app)


def test_an_empty_book_says_so(app: flask.Flask) -> None:
    page = app.test_client().get("/").text

    assert "Nobody has signed yet." in page


def test_the_newest_entries_are_shown_escaped(app: flask.Flask) -> None:
    client = app.test_client()

    for words in ("first", "second", "<b>third</b>"):
        client.post("/", data={"words": words})
    page = client.get("/").text

    assert page.index("&lt;b&gt;third") < page.index("second")
    assert "first" not in page
