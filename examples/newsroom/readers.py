"""What everybody sees: news to read, and how to subscribe and to leave."""

import datetime as dt

import flask
import pydantic

import quorum

from .models import Issue, Reader, now
from .sending import tell
from .settings import NewsroomSettings, make_link

pages = flask.Blueprint("readers", __name__)

#: Nobody can have an address written to more often than this.
_PAUSE = dt.timedelta(minutes=10)


@pages.get("/")
def home() -> str:
    published = quorum.where(one_of=["sending", "sent"])
    found = Issue.find(state=published, sort="-changed", limit=20)
    return flask.render_template("home.html.tpl", issues=list(found))


@pages.get("/read/<id>")
def read(id: str) -> str:
    issue = find_published(id)
    return flask.render_template("read.html.tpl", issue=issue)


@pages.post("/subscribe")
def subscribe() -> tuple[str, int]:
    email = flask.request.form.get("email", "").strip().lower()
    try:
        ask(email)
    except (pydantic.ValidationError, quorum.MessageError):
        fault = "This is no address of the form name@example.org. Please correct it."
        page = flask.render_template(
            "home.html.tpl", issues=[], email=email, fault=fault
        )
        return page, 400
    text = f"We have written to {email}. Follow the link in that mail to confirm."
    return show("Look into your mailbox", text), 202


def ask(email: str) -> None:
    """Write to an address; the page does not tell whether it is known already."""
    reader = Reader.get(email=email)
    if reader is None:
        reader = Reader(email=email)
    elif reader.state == "confirmed" or reader.asked > now() - _PAUSE:
        return
    reader.asked = now()
    title = quorum.get_settings(NewsroomSettings).title
    link = make_link("readers.confirm", token=reader.token)
    try:
        reader.save()
    except quorum.DuplicateError:
        return  # the same form, sent twice at once
    try:
        quorum.send_mail_a(
            subject=f"Confirm that you want {title}",
            receivers=email,
            plain="mail/confirm.txt.tpl",
            rich="mail/confirm.html.tpl",
            context={"link": link, "title": title},
        )
    except quorum.QuorumError:
        reader.delete()
        raise


@pages.get("/confirm/<token>")
def confirm(token: str) -> str:
    """Ask once more: programs that look through mail follow links too."""
    reader = find_reader(token)
    return flask.render_template("confirm.html.tpl", reader=reader)


@pages.post("/confirm/<token>")
def do_confirm(token: str) -> str:
    reader = find_reader(token)
    if reader.state == "asked":
        reader.state = "confirmed"
        reader.save()
        tell("reader.confirmed", reader=str(reader.id))
    return show("You are on the list", f"The next issue will go to {reader.email}.")


@pages.get("/leave/<token>")
def leave(token: str) -> str:
    reader = Reader.get(token=token)
    if reader is None:
        return say_goodbye()
    return flask.render_template("leave.html.tpl", reader=reader)


@pages.post("/leave/<token>")
def do_leave(token: str) -> str:
    reader = Reader.get(token=token)
    if reader is not None:
        reader.delete()
        tell("reader.left", reader=str(reader.id))
    return say_goodbye()


def say_goodbye() -> str:
    return show("You have left", "Your address is not on the list any more.")


def find_reader(token: str) -> Reader:
    reader = Reader.get(token=token)
    if reader is None:
        flask.abort(404, "This link does not work any more. Please subscribe again.")
    return reader


def find_published(id: str) -> Issue:
    """Return an issue that has gone out, or end the request."""
    try:
        issue = Issue.get(id=id)
    except pydantic.ValidationError:
        issue = None
    if issue is None or issue.state == "draft":
        flask.abort(404)
    return issue


def show(title: str, text: str) -> str:
    return flask.render_template("notice.html.tpl", title=title, text=text)
