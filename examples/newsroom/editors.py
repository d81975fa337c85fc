"""Logging in and out, here and everywhere, and the list of the editors."""

import contextlib
import functools
import secrets

import flask
import pydantic
import werkzeug
from werkzeug.security import check_password_hash, generate_password_hash

import quorum

from .models import Editor
from .settings import NewsroomSettings

pages = flask.Blueprint("editors", __name__)

#: Wrong passwords that one name may have from one address, in how many seconds.
_GUESSES, _WINDOW = 10, 15 * 60

_SHORTEST = 12


def require_editor() -> werkzeug.Response | None:
    """Let editors in only; the name of who it is stays in ``flask.g``."""
    name = flask.session.get("editor")
    if name is None:
        there = flask.request.path if flask.request.method == "GET" else None
        return flask.redirect(flask.url_for("editors.login", next=there))
    flask.g.editor = name
    return None


@pages.get("/login")
def login() -> str:
    return flask.render_template("login.html.tpl")


@pages.post("/login")
def do_login() -> werkzeug.Response | tuple[str, int]:
    name = flask.request.form.get("name", "").strip()
    key = f"newsroom:guesses:{flask.request.remote_addr}:{name}"
    redis = quorum.get_redis()
    guesses = redis.incr(key)
    redis.expire(key, _WINDOW)
    if guesses > _GUESSES:
        fault = "Too many wrong passwords. Please try again in a quarter of an hour."
        return flask.render_template("login.html.tpl", name=name, fault=fault), 429
    if not check_password(name, flask.request.form.get("password", "")):
        fault = "Name or password are wrong."
        return flask.render_template("login.html.tpl", name=name, fault=fault), 403
    redis.delete(key)
    start_session(name)
    quorum.info("The editor %s has logged in.", name)
    place = flask.request.args.get("next", "")
    own = place.startswith("/") and not place.startswith(("//", "/\\"))
    return flask.redirect(place if own else flask.url_for("issues.index"))


@pages.post("/logout")
def logout() -> werkzeug.Response:
    flask.session.clear()
    return flask.redirect(flask.url_for("readers.home"))


@pages.post("/logout-everywhere")
def logout_everywhere() -> werkzeug.Response:
    name = flask.session.get("editor")
    if name is not None:
        quorum.revoke_sessions(name)
    return logout()


@pages.get("/team")
def team() -> str | werkzeug.Response:
    return require_editor() or show_team()


@pages.post("/team")
def add_editor() -> werkzeug.Response | tuple[str, int]:
    if (elsewhere := require_editor()) is not None:
        return elsewhere
    name = flask.request.form.get("name", "").strip()
    password = flask.request.form.get("password", "")
    if len(password) < _SHORTEST:
        fault = f"The password must have {_SHORTEST} characters or more."
        return show_team(fault, name), 400
    try:
        Editor(name=name, password=generate_password_hash(password)).save()
    except pydantic.ValidationError:
        return show_team("The name must have 1 to 80 characters.", name), 400
    except quorum.DuplicateError:
        return show_team(f"There is an editor called {name} already.", name), 409
    flask.flash(f"{name} can log in now.")
    return flask.redirect(flask.url_for("editors.team"))


@pages.post("/team/password")
def change_password() -> werkzeug.Response | tuple[str, int]:
    if (elsewhere := require_editor()) is not None:
        return elsewhere
    name, form = flask.g.editor, flask.request.form
    if not check_password(name, form.get("old", "")):
        return show_team("The present password is wrong."), 403
    if len(form.get("new", "")) < _SHORTEST:
        fault = f"The new password must have {_SHORTEST} characters or more."
        return show_team(fault), 400
    editor = Editor.get(name=name)
    if editor is not None:
        editor.password = generate_password_hash(form["new"])
        editor.save()
    quorum.revoke_sessions(name)
    flask.session.clear()
    start_session(name)
    flask.flash("Your password is changed, and you are logged out everywhere else.")
    return flask.redirect(flask.url_for("editors.team"))


def show_team(fault: str = "", name: str = "") -> str:
    found = [editor.name for editor in Editor.find(sort="name")]
    return flask.render_template(
        "team.html.tpl", editors=found, fault=fault, name=name, shortest=_SHORTEST
    )


def start_session(name: str) -> None:
    """Begin a session with an identifier that nobody knew before."""
    quorum.bind_session(name)
    flask.session["editor"] = name


def check_password(name: str, password: str) -> bool:
    if not Editor.exists():
        first = quorum.get_settings(NewsroomSettings).password
        # Another process may be first.
        with contextlib.suppress(quorum.DuplicateError):
            Editor(name="editor", password=generate_password_hash(first)).save()
    editor = Editor.get(name=name)
    # An unknown name takes as long as a wrong password.
    known = check_password_hash(editor.password if editor else _nobody(), password)
    return known and editor is not None


@functools.cache
def _nobody() -> str:
    return generate_password_hash(secrets.token_hex())
