"""What everybody sees: how to subscribe, and how to leave."""

import flask
import pydantic

import quorum

from .models import Reader
from .settings import NewsletterSettings

pages = flask.Blueprint("readers", __name__)


@pages.get("/")
def home() -> str:
    return flask.render_template("home.html.tpl")


@pages.post("/")
def subscribe() -> str | tuple[str, int]:
    email = flask.request.form.get("email", "").strip().lower()
    done = f"Look into the mailbox of {email}."
    try:
        reader = Reader(email=email).save()
    except pydantic.ValidationError:
        return show("This is no address. Go back, and correct it."), 400
    except quorum.DuplicateError:
        return show(done)  # nobody is told who is on the list
    settings = quorum.get_settings(NewsletterSettings)
    try:
        quorum.send_mail_a(
            subject=f"Do you want {settings.title}?",
            receivers=email,
            plain="confirm.txt.tpl",
            context={"link": f"{settings.url}/confirm/{reader.token}"},
        )
    except quorum.MessageError:
        reader.delete()
        return show("No mail can be sent there. Go back, and correct it."), 400
    return show(done)


@pages.get("/confirm/<token>")
def confirm(token: str) -> str:
    """Ask once more: programs that look through mail follow links too."""
    return show(f"Shall we write to {find(token).email}?", ask=True)


@pages.post("/confirm/<token>")
def do_confirm(token: str) -> str:
    reader = find(token)
    reader.confirmed = True
    reader.save()
    return show(f"The next issue will go to {reader.email}.")


@pages.get("/leave/<token>")
def leave(token: str) -> str:
    return show(f"Shall we no longer write to {find(token).email}?", ask=True)


@pages.post("/leave/<token>")
def do_leave(token: str) -> str:
    find(token).delete()
    return show("You are not on the list any more.")


def find(token: str) -> Reader:
    reader = Reader.get(token=token)
    if reader is None:
        flask.abort(404)
    return reader


def show(text: str, *, ask: bool = False) -> str:
    return flask.render_template("message.html.tpl", text=text, ask=ask)
