"""Where the editor sends an issue, and sees it go."""

import flask
import pydantic
import werkzeug

import quorum

from .editors import require_editor
from .models import Delivery, Issue
from .sending import list_readers

pages = flask.Blueprint("issues", __name__)
pages.before_request(require_editor)


@pages.post("/issues")
def send() -> werkzeug.Response:
    form = flask.request.form
    try:
        issue = Issue(title=form["title"], text=form["text"]).save()
    except pydantic.ValidationError:
        flask.abort(400, "An issue has a title of one line, and a text.")
    quorum.run_background(list_readers, [str(issue.id)], retries=5)
    return flask.redirect(flask.url_for("issues.show", id=str(issue.id)))


@pages.get("/issues/<id>")
def show(id: str) -> str:
    try:
        issue = Issue.get(id=id)
    except pydantic.ValidationError:
        issue = None
    if issue is None:
        flask.abort(404)
    done = Delivery.count(issue=issue.id, done=True)
    return flask.render_template("issue.html.tpl", issue=issue, done=done)
