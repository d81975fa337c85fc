import typing as t

import flask
import werkzeug

import quorum
from quorum import Settings, Variable, parsers, variable

TEMPLATE = "guestbook.html.tpl"


class GuestbookSettings(Settings):
    """How the guest book looks."""

    title: Variable[str] = variable(
        "GUESTBOOK_TITLE", str, default="Guest book", help="Heading of the page."
    )
    shown: Variable[int] = variable(
        "GUESTBOOK_SHOWN",
        parsers.integer,
        default=10,
        help="Number of entries that the page shows.",
    )


def create_app(**variables: t.Any) -> flask.Flask:
    app = quorum.load(flask.Flask(__name__), **variables)
    app.add_url_rule("/", view_func=show)
    app.add_url_rule("/", view_func=sign, methods=["POST"])
    return app


def show() -> str:
    settings = quorum.get_settings(GuestbookSettings)
    entries = quorum.get_redis().lrange("entries", 0, settings.shown - 1)
    return flask.render_template(TEMPLATE, title=settings.title, entries=entries)


def sign() -> werkzeug.Response:
    words = flask.request.form["words"].strip()
    if words:
        quorum.get_redis().lpush("entries", words)
        quorum.info("Somebody signed, with %d characters.", len(words))
    return flask.redirect("/")


if __name__ == "__main__":
    create_app()
    quorum.run()
