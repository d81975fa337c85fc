"""The variables of the app's own, and addresses that others can follow."""

import urllib.parse

import flask

import quorum
from quorum import Settings, Variable, parsers, variable


class NewsroomSettings(Settings):
    """How the newsroom is called, and where it is."""

    title: Variable[str] = variable(
        "NEWSROOM_TITLE", str, default="The Newsroom", help="Name of the newsletter."
    )
    url: Variable[parsers.URL] = variable(
        "NEWSROOM_URL",
        parsers.url("http", "https"),
        default=parsers.URL("http://127.0.0.1:5000"),
        help="Address of the app, as links in mail have it.",
    )
    password: Variable[str] = variable(
        "NEWSROOM_PASSWORD",
        str,
        secret=True,
        help="First password of the editor called 'editor'.",
    )
    retries: Variable[int] = variable(
        "NEWSROOM_RETRIES",
        parsers.count,
        default=5,
        help="How often a mail is tried again by itself.",
    )


def make_link(endpoint: str, **values: str) -> str:
    """Return an address for a mail; what a request says of its host does not count."""
    parts = urllib.parse.urlsplit(quorum.get_settings(NewsroomSettings).url)
    places = flask.current_app.url_map.bind(
        parts.netloc, parts.path or "/", url_scheme=parts.scheme
    )
    return places.build(endpoint, values, force_external=True)
