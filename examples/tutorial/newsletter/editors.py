"""Where the editor logs in and out, here and everywhere."""

import hmac

import flask
import werkzeug

import quorum

from .models import Reader
from .settings import NewsletterSettings

pages = flask.Blueprint("editors", __name__)


def require_editor() -> werkzeug.Response | None:
    """Send everybody else to the login."""
    if "editor" in flask.session:
        return None
    return flask.redirect(flask.url_for("editors.login"))


@pages.get("/login")
def login() -> str:
    return flask.render_template("login.html.tpl")


@pages.post("/login")
def do_login() -> werkzeug.Response | tuple[str, int]:
    password = quorum.get_settings(NewsletterSettings).password
    given = flask.request.form.get("password", "")
    if not hmac.compare_digest(given.encode(), password.encode()):
        return flask.render_template("login.html.tpl", wrong=True), 403
    quorum.bind_session("editor")  # from here on it has another identifier
    flask.session["editor"] = True
    return flask.redirect(flask.url_for("editors.desk"))


@pages.post("/logout")
def logout() -> werkzeug.Response:
    flask.session.clear()
    return flask.redirect(flask.url_for("readers.home"))


@pages.post("/logout-everywhere")
def logout_everywhere() -> werkzeug.Response:
    if "editor" in flask.session:
        quorum.revoke_sessions("editor")
    return logout()


@pages.get("/desk")
def desk() -> str | werkzeug.Response:
    return require_editor() or flask.render_template(
        "desk.html.tpl", readers=Reader.count(confirmed=True)
    )
