"""A newsletter that a small team runs: readers subscribe, editors write and send."""

import typing as t

import flask
from werkzeug.exceptions import HTTPException

import quorum

from . import editors, health, issues, models, readers, sending
from .settings import NewsroomSettings

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def create_app(**variables: t.Any) -> flask.Flask:
    app = quorum.load(
        flask.Flask(__name__),
        redis_session=True,
        models=models,
        **{
            "SESSION_COOKIE_SAMESITE": "Lax",
            "MAX_CONTENT_LENGTH": 6_000_000,
            **variables,
        },
    )
    with app.app_context():
        settings = quorum.get_settings(NewsroomSettings)
        _ = settings.password  # an app that nobody could log in to is not started
        app.config["SESSION_COOKIE_SECURE"] = settings.url.startswith("https:")
        quorum.background(timeout=10)(sending.finish_issues)
    for part in (readers, editors, issues, health):
        app.register_blueprint(part.pages)
    app.before_request(refuse_foreign_forms)
    app.after_request(add_headers)
    app.register_error_handler(HTTPException, show_error)
    app.register_error_handler(quorum.ConflictError, show_conflict)
    app.register_error_handler(quorum.ServiceError, show_outage)
    app.context_processor(lambda: {"newsroom": quorum.get_settings(NewsroomSettings)})
    return app


def refuse_foreign_forms() -> None:
    """Take no form that another site has sent; mail programs may unsubscribe."""
    origin = flask.request.headers.get("Sec-Fetch-Site", "none")
    if flask.request.method == "POST" and origin not in ("same-origin", "none"):
        flask.abort(403, "This form was sent by another site.")


def add_headers(response: flask.Response) -> flask.Response:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    if "editor" in flask.g:  # so that nobody goes back to it after a logout
        response.headers["Cache-Control"] = "no-store"
    return response


def show_error(
    error: HTTPException,
) -> tuple[str, int] | HTTPException:
    if error.code is None or error.code < 400:
        return error
    page = flask.render_template(
        "notice.html.tpl", title=error.name, text=error.description
    )
    return page, error.code


def show_conflict(error: quorum.ConflictError) -> tuple[str, int]:
    page = flask.render_template(
        "notice.html.tpl",
        title="Somebody else was first",
        text="It was changed at this moment. Go back, and reload the page.",
    )
    return page, 409


def show_outage(error: quorum.ServiceError) -> tuple[str, int]:
    quorum.error("A page could not be served.", exc_info=error)
    page = flask.render_template(
        "notice.html.tpl",
        title="Please try again in a minute",
        text="A part of this site does not answer. Nothing you have sent was lost "
        "that this site had confirmed.",
    )
    return page, 503
