"""What editors do: write an issue, look at it, send it, and see it go."""

import typing as t
import uuid
from collections.abc import Sequence

import flask
import pydantic
import werkzeug

import quorum

from . import sending
from .deliveries import Deliveries
from .editors import require_editor
from .models import Issue, Reader, now
from .readers import find_published

pages = flask.Blueprint("issues", __name__)

#: How files begin that every browser shows, and their types.
_PICTURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}
_LARGEST = 5_000_000

_WORDS = ("title", "text", "description")


class PictureError(ValueError):
    """Raised when a file cannot be the picture of an issue."""


@pages.before_request
def guard() -> werkzeug.Response | None:
    return None if flask.request.endpoint == "issues.picture" else require_editor()


@pages.get("/issues")
def index() -> str:
    issues = list(Issue.find(sort="-changed", limit=100))
    return flask.render_template("issues.html.tpl", issues=issues)


@pages.get("/issues/new")
def new() -> str:
    return show_form(dict.fromkeys(_WORDS, ""))


@pages.post("/issues/new")
def create() -> werkzeug.Response | tuple[str, int]:
    return save(None)


@pages.get("/issues/<id>")
def show(id: str) -> str:
    issue = find(id)
    failed = Deliveries(issue.id).list_failures(limit=100)
    failures = [(find_address(reader), reason) for reader, reason in failed]
    return flask.render_template(
        "issue.html.tpl",
        issue=issue,
        progress=measure(issue),
        failures=failures,
        readers=Reader.count(state="confirmed"),
    )


@pages.get("/issues/<id>/edit")
def edit(id: str) -> str:
    issue = find_draft(id)
    return show_form({name: getattr(issue, name) for name in _WORDS}, (), issue.version)


@pages.post("/issues/<id>/edit")
def change(id: str) -> werkzeug.Response | tuple[str, int]:
    return save(find_draft(id))


@pages.post("/issues/<id>/delete")
def delete(id: str) -> werkzeug.Response:
    issue = find_draft(id)
    issue.delete()
    if issue.picture:
        quorum.delete_amazon_key(issue.picture)
    flask.flash(f"“{issue.title}” is deleted.")
    return flask.redirect(flask.url_for("issues.index"))


@pages.post("/issues/<id>/send")
def send(id: str) -> werkzeug.Response:
    issue = find_draft(id)
    if flask.request.form.get("version") != str(issue.version):
        flask.flash("It was changed since you opened it. Please read it again.")
        return go_to(issue)
    if not Reader.exists(state="confirmed"):
        flask.flash("Nobody has subscribed yet, so there is nobody to send it to.")
        return go_to(issue)
    issue.state, issue.changed = "sending", now()
    issue.save()
    try:
        sending.submit_issue(issue)
        sending.tell("issue.sending", issue=str(issue.id))
    except quorum.ServiceUnavailableError as error:
        quorum.error("The queue does not answer.", exc_info=error)
        flask.flash("The queue does not answer. Sending begins when it does again.")
    return go_to(issue)


@pages.get("/issues/<id>/progress")
def progress(id: str) -> dict[str, object]:
    return measure(find(id))


@pages.post("/issues/<id>/retry")
def retry(id: str) -> werkzeug.Response:
    issue = find(id)
    flask.flash(f"{sending.retry(issue)} mails are tried again.")
    return go_to(issue)


@pages.get("/pictures/<id>")
def picture(id: str) -> flask.Response:
    """Show a picture: to everybody when its issue has gone out."""
    issue = find(id) if "editor" in flask.session else find_published(id)
    key = issue.picture and quorum.get_amazon_bucket().get_key(issue.picture)
    if not key:
        flask.abort(404)
    return flask.Response(key.get_contents_as_string(), mimetype=key.content_type)


def save(issue: Issue | None) -> werkzeug.Response | tuple[str, int]:
    """Store what the form says; what somebody has typed is never lost."""
    form = flask.request.form
    words = {name: form.get(name, "").strip() for name in _WORDS}
    words["text"] = words["text"].replace("\r\n", "\n")
    try:
        if issue is None:
            values: dict[str, t.Any] = {"editor": flask.g.editor, **words}
            issue = Issue(**values)
        elif form.get("version") != str(issue.version):
            raise quorum.ConflictError("Issue", str(issue.id))
        for name, value in words.items():
            setattr(issue, name, value)
        issue.editor, issue.changed = flask.g.editor, now()
        before = issue.picture
        file = read_picture()
        if file is not None:
            issue.picture = store_picture(*file)
        issue.save()
    except pydantic.ValidationError as error:
        faults = [f"{fault['loc'][0]}: {fault['msg']}." for fault in error.errors()]
        return show_form(words, faults, form.get("version")), 400
    except PictureError as error:
        return show_form(words, [str(error)], form.get("version")), 400
    except quorum.ConflictError as error:
        theirs = find_draft(error.id)
        fault = "Somebody else has saved this issue since you opened it."
        return show_form(words, [fault], theirs.version, theirs), 409
    if file is not None and before:
        quorum.delete_amazon_key(before)
    return go_to(issue)


def read_picture() -> tuple[bytes, str] | None:
    """Return the picture of the form and its type, which its content tells."""
    file = flask.request.files.get("picture")
    content = file.read() if file else b""
    if not content:
        return None
    if len(content) > _LARGEST:
        raise PictureError("The picture has more than 5 MB. Please make it smaller.")
    for start, kind in _PICTURES.items():
        if content.startswith(start):
            return content, kind
    raise PictureError("The picture is no PNG, JPEG or GIF file.")


def store_picture(content: bytes, kind: str) -> str:
    key = quorum.get_amazon_key(f"pictures/{uuid.uuid4()}")
    key.content_type = kind
    key.set_contents_from_string(content)
    return key.name


def show_form(
    words: dict[str, str],
    faults: Sequence[str] = (),
    version: object = None,
    theirs: Issue | None = None,
) -> str:
    return flask.render_template(
        "edit.html.tpl", words=words, faults=faults, version=version, theirs=theirs
    )


def find(id: str) -> Issue:
    try:
        issue = Issue.get(id=id)
    except pydantic.ValidationError:
        issue = None
    if issue is None:
        flask.abort(404)
    return issue


def find_draft(id: str) -> Issue:
    issue = find(id)
    if issue.state != "draft":
        flask.abort(409, "This issue has been sent already, so it stays as it is.")
    return issue


def find_address(id: str) -> str:
    reader = Reader.get(id=id)
    return reader.email if reader else "somebody who has left"


def measure(issue: Issue) -> dict[str, object]:
    """Return what the page shows of a sending, and what its script asks for."""
    counts = Deliveries(issue.id).count()
    if not any(counts.values()):  # it was sent long ago
        counts["sent"] = issue.delivered
    over = issue.readers is not None and not counts["waiting"]
    return {**counts, "readers": issue.readers, "over": over}


def go_to(issue: Issue) -> werkzeug.Response:
    return flask.redirect(flask.url_for("issues.show", id=str(issue.id)))
