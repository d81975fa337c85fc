"""The newsroom, with everything in memory: what people see and what must not be."""

import io
import re
import threading
import typing as t
from collections.abc import Iterator

import flask
import pytest
from flask.testing import FlaskClient

import quorum
from newsroom import create_app, issues, models, sending
from newsroom.deliveries import Deliveries
from newsroom.models import Editor, Issue, Reader
from quorum.testing import Delivered, join_tasks, outbox

PASSWORD = "correct horse battery"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


@pytest.fixture
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[flask.Flask]:
    folder = tmp_path_factory.mktemp("objects")
    app = create_app(
        MONGOHQ_URL="memory:newsroom",
        REDISTOGO_URL="memory:",
        SMTP_URL="memory:",
        AMAZON_ENDPOINT=f"file:{folder}",
        QUEUE_BACKOFF=0.01,
        NEWSROOM_URL="https://news.example.org",
        NEWSROOM_PASSWORD=PASSWORD,
        NEWSROOM_RETRIES=1,
        SESSION_COOKIE_SECURE=False,
    )
    with app.app_context():
        yield app
    quorum.unload(app=app)


@pytest.fixture
def visitor(app: flask.Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def editor(app: flask.Flask) -> FlaskClient:
    client = app.test_client()
    log_in(client)
    return client


def log_in(client: FlaskClient, name: str = "editor", password: str = PASSWORD) -> int:
    form = {"name": name, "password": password}
    return client.post("/login", data=form).status_code


def subscribe(client: FlaskClient, address: str) -> str:
    """Return the path of the link in the mail."""
    client.post("/subscribe", data={"email": address})
    join_tasks()
    (message,) = mail_to(address)
    found = re.search(r"https://news\.example\.org(/confirm/\S+)", text_of(message))
    assert found is not None
    return found[1]


def mail_to(address: str) -> list[Delivered]:
    return [message for message in outbox() if message.envelope_to == (address,)]


def text_of(message: Delivered) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def write(client: FlaskClient, **changes: t.Any) -> Issue:
    form = {"title": "Spring", "text": "One.\r\n\r\nTwo.", **changes}
    answer = client.post("/issues/new", data=form)
    issue = Issue.get(id=answer.location.rpartition("/")[2])
    assert issue is not None
    return issue


def send(client: FlaskClient, issue: Issue) -> str:
    form = {"version": issue.version}
    return client.post(
        f"/issues/{issue.id}/send", data=form, follow_redirects=True
    ).text


def progress(client: FlaskClient, issue: Issue) -> dict[str, t.Any]:
    found: dict[str, t.Any] = client.get(f"/issues/{issue.id}/progress").get_json()
    return found


def get_reader(name: str) -> Reader:
    reader = Reader.get(email=f"{name}@example.org")
    assert reader is not None
    return reader


def refuse(*args: object, **options: object) -> t.NoReturn:
    raise quorum.ServiceUnavailableError("mail", "mx", 25, "it is full")


def test_a_reader_is_on_the_list_after_the_second_click(visitor: FlaskClient) -> None:
    link = subscribe(visitor, "ann@example.org")

    asked = visitor.get(link).text
    before = Reader.count(state="confirmed")
    confirmed = visitor.post(link).text

    assert "Shall The Newsroom be sent to <strong>ann@example.org" in asked
    assert before == 0
    assert "The next issue will go to ann@example.org." in confirmed
    assert Reader.count(state="confirmed") == 1


def test_nobody_learns_whether_an_address_is_known(visitor: FlaskClient) -> None:
    link = subscribe(visitor, "ann@example.org")
    visitor.post(link)

    again = visitor.post("/subscribe", data={"email": "Ann@Example.org "})
    new = visitor.post("/subscribe", data={"email": "bea@example.org"})

    assert again.text.replace("ann@", "bea@") == new.text
    join_tasks()
    assert len(mail_to("ann@example.org")) == len(mail_to("bea@example.org")) == 1


@pytest.mark.parametrize(
    "address", ["", "ann", "a@b", "a\nb@example.org", "<a@b.org>,"]
)
def test_what_is_no_address_is_shown_again(visitor: FlaskClient, address: str) -> None:
    answer = visitor.post("/subscribe", data={"email": address})

    assert answer.status_code == 400
    assert 'aria-invalid="true"' in answer.text
    assert not Reader.exists()


def test_the_link_does_not_follow_the_host_of_the_request(visitor: FlaskClient) -> None:
    form = {"email": "ann@example.org"}
    visitor.post("/subscribe", data=form, headers={"Host": "evil.example.com"})
    join_tasks()

    assert "https://news.example.org/confirm/" in text_of(outbox()[0])
    assert "evil" not in outbox()[0].as_string()


def test_an_issue_goes_to_every_reader_who_confirmed(
    visitor: FlaskClient, editor: FlaskClient
) -> None:
    for name in ("ann", "bea"):
        visitor.post(subscribe(visitor, f"{name}@example.org"))
    subscribe(visitor, "cid@example.org")
    outbox().clear()
    issue = write(editor, picture=(io.BytesIO(PNG), "x.png"), description="A <b>")

    send(editor, issue)
    join_tasks()

    assert progress(editor, issue)["sent"] == 2
    assert {item.envelope_to[0][:3] for item in outbox()} == {"ann", "bea"}
    (message,) = mail_to("ann@example.org")
    leave = f"<https://news.example.org/leave/{get_reader('ann').token}>"
    assert leave in message["List-Unsubscribe"]
    page = message.get_body(("html",))
    assert page is not None
    assert 'alt="A &lt;b&gt;"' in page.get_content()
    assert f"https://news.example.org/pictures/{issue.id}" in page.get_content()
    picture = visitor.get(f"/pictures/{issue.id}")
    assert (picture.data, picture.mimetype) == (PNG, "image/png")


def test_one_click_in_the_mail_program_is_enough_to_leave(visitor: FlaskClient) -> None:
    link = subscribe(visitor, "ann@example.org").replace("confirm", "leave")

    form = {"List-Unsubscribe": "One-Click"}
    answers = [visitor.post(link, data=form).status_code for _ in "12"]

    assert answers == [200, 200]
    assert not Reader.exists()


def test_failures_are_listed_and_tried_again(
    visitor: FlaskClient, editor: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ann", "bea"):
        visitor.post(subscribe(visitor, f"{name}@example.org"))
    outbox().clear()
    issue = write(editor)
    send_mail = quorum.send_mail

    def refuse_ann(**options: t.Any) -> t.Any:
        is_ann = options["receivers"] == "ann@example.org"
        return (refuse if is_ann else send_mail)(**options)

    monkeypatch.setattr(quorum, "send_mail", refuse_ann)
    send(editor, issue)
    join_tasks()
    page = editor.get(f"/issues/{issue.id}").text
    monkeypatch.undo()
    sending.finish_issues()
    editor.post(f"/issues/{issue.id}/retry")
    join_tasks()
    sending.finish_issues()

    assert re.search(r"<td>ann@example.org</td><td>.*it is full", page)
    assert "Try it again" in page
    assert len(mail_to("ann@example.org")) == len(mail_to("bea@example.org")) == 1
    assert Issue.exists(id=issue.id, state="sent")


def test_a_task_that_runs_twice_sends_once(
    visitor: FlaskClient, editor: FlaskClient
) -> None:
    visitor.post(subscribe(visitor, "ann@example.org"))
    outbox().clear()
    issue = write(editor)
    send(editor, issue)
    join_tasks()

    for _ in "12":
        sending.list_readers(str(issue.id))
        sending.deliver(str(issue.id), str(next(Reader.find()).id))

    assert len(outbox()) == 1
    assert progress(editor, issue)["sent"] == 1


def test_an_issue_whose_tasks_were_lost_is_sent_all_the_same(
    visitor: FlaskClient, editor: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor.post(subscribe(visitor, "ann@example.org"))
    outbox().clear()
    issue = write(editor)
    with monkeypatch.context() as lost:
        lost.setattr(sending, "submit_issue", lambda issue: None)
        send(editor, issue)
    later = models.now() + 2 * sending._LOST
    monkeypatch.setattr(sending, "now", lambda: later)

    sending.finish_issues()
    join_tasks()

    assert len(mail_to("ann@example.org")) == 1


def test_deliveries_that_were_lost_are_submitted_again(
    visitor: FlaskClient, editor: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ann", "bea"):
        visitor.post(subscribe(visitor, f"{name}@example.org"))
    outbox().clear()
    issue = write(editor)
    with monkeypatch.context() as lost:
        lost.setattr(sending, "submit_delivery", lambda issue, reader: None)
        send(editor, issue)
        join_tasks()
        sending.finish_issues()
        assert progress(editor, issue)["waiting"] == 2  # they may be on their way
    visitor.post(f"/leave/{get_reader('bea').token}")
    quorum.get_redis().delete(f"newsroom:deliveries:{issue.id}:life")

    sending.finish_issues()
    join_tasks()

    assert [item.envelope_to for item in outbox()] == [("ann@example.org",)]


def test_what_was_sent_long_ago_is_still_counted(
    visitor: FlaskClient, editor: FlaskClient
) -> None:
    visitor.post(subscribe(visitor, "ann@example.org"))
    issue = write(editor)
    send(editor, issue)
    join_tasks()
    sending.finish_issues()
    redis = quorum.get_redis()
    keys = [f"newsroom:deliveries:{issue.id}:{name}" for name in ("sent", "life")]

    assert 0 < redis.ttl(keys[0]) <= 90 * 86_400
    redis.delete(*keys)
    found = progress(editor, issue)
    assert (found["sent"], found["readers"], found["over"]) == (1, 1, True)


def test_a_retry_is_not_taken_for_sent_before_it_is(
    visitor: FlaskClient, editor: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor.post(subscribe(visitor, "ann@example.org"))
    issue = write(editor)
    submit = sending.submit_delivery
    monkeypatch.setattr(sending, "send", refuse)
    send(editor, issue)
    join_tasks()
    sending.finish_issues()
    monkeypatch.undo()

    def finish_first(issue: Issue, reader: str) -> None:
        sending.finish_issues()
        submit(issue, reader)

    monkeypatch.setattr(sending, "submit_delivery", finish_first)
    editor.post(f"/issues/{issue.id}/retry")

    assert Issue.exists(id=issue.id, state="sending")
    join_tasks()
    assert progress(editor, issue)["sent"] == 1


def test_a_reader_on_the_move_is_counted_once(app: flask.Flask) -> None:
    deliveries = Deliveries(quorum.object_id("0" * 24))
    assert deliveries.add("ann")
    moves = threading.Thread(target=lambda: move(app, deliveries))

    moves.start()
    counted = set[int]()
    while moves.is_alive():
        counted.add(sum(deliveries.count().values()))
    moves.join()

    assert counted == {1}
    assert not deliveries.add("ann")


def move(app: flask.Flask, deliveries: Deliveries) -> None:
    with app.app_context():
        for _ in range(300):
            deliveries.note_failed("ann")
            deliveries.retry()
        deliveries.note_sent("ann")


def test_listing_goes_on_where_it_was_interrupted(
    visitor: FlaskClient, editor: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ann", "bea", "cid", "dot", "eve"):
        visitor.post(subscribe(visitor, f"{name}@example.org"))
    outbox().clear()
    issue = write(editor)
    submit, submitted = sending.submit_delivery, list[str]()

    def break_off(issue: Issue, reader: str) -> None:
        submitted.append(reader)
        if len(submitted) == 3:
            raise OSError
        submit(issue, reader)

    monkeypatch.setattr(sending, "_BATCH", 2)
    monkeypatch.setattr(sending, "submit_delivery", break_off)
    send(editor, issue)
    join_tasks()

    assert submitted[2] == submitted[3]
    assert len(set(submitted)) == len(submitted) - 1 == 5
    assert progress(editor, issue)["sent"] == len(outbox()) == 5


def test_nobody_reads_or_sends_a_draft(
    visitor: FlaskClient, editor: FlaskClient
) -> None:
    issue = write(editor, picture=(io.BytesIO(PNG), "x.png"))

    for path in (f"/read/{issue.id}", f"/pictures/{issue.id}", "/read/none"):
        assert visitor.get(path).status_code == 404
    for path in ("/issues", f"/issues/{issue.id}", "/team", "/issues/new"):
        assert visitor.get(path).location.startswith("/login?next=")
    assert "/login" in visitor.post(f"/issues/{issue.id}/send").location
    assert "Nobody has subscribed yet" in send(editor, issue)


def test_who_saves_second_sees_both_versions(editor: FlaskClient) -> None:
    issue = write(editor)
    first = {"title": "First", "text": "1", "version": issue.version}
    second = {"title": "Second", "text": "2", "version": issue.version}

    saved = editor.post(f"/issues/{issue.id}/edit", data=first)
    refused = editor.post(f"/issues/{issue.id}/edit", data=second)
    sent = send(editor, issue)

    assert saved.status_code == 302
    assert refused.status_code == 409
    assert "<strong>First</strong>" in refused.text
    assert 'value="Second"' in refused.text
    assert "It was changed since you opened it." in sent
    version = re.search(r'name="version" value="(\d+)"', refused.text)
    assert version is not None
    second["version"] = version[1]
    assert editor.post(f"/issues/{issue.id}/edit", data=second).status_code == 302


@pytest.mark.parametrize(
    ("form", "fault"),
    [
        ({"title": " "}, "title: String should have at least 1 character."),
        ({"text": "x" * 50_001}, "text: String should have at most 50000"),
        ({"picture": (io.BytesIO(b"<svg/>"), "x.png")}, "is no PNG, JPEG or GIF"),
        ({"picture": (io.BytesIO(PNG + bytes(9)), "x.png")}, "more than 5 MB"),
    ],
)
def test_what_was_typed_is_not_lost(
    editor: FlaskClient,
    form: dict[str, t.Any],
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(issues, "_LARGEST", len(PNG))
    data = {"title": "Spring", "text": "One.", "description": "Kept", **form}

    answer = editor.post("/issues/new", data=data)

    assert answer.status_code == 400
    assert fault in answer.text
    assert 'value="Kept"' in answer.text


def test_a_picture_that_is_replaced_is_deleted(editor: FlaskClient) -> None:
    issue = write(editor, picture=(io.BytesIO(PNG), "x.png"))
    gif = (io.BytesIO(b"GIF89a"), "y.gif")
    form = {"title": "T", "text": "t", "version": issue.version, "picture": gif}

    editor.post(f"/issues/{issue.id}/edit", data=form)
    (key,) = quorum.get_amazon_bucket().list()
    editor.post(f"/issues/{issue.id}/delete")

    assert key.name != issue.picture
    assert list(quorum.get_amazon_bucket().list()) == []


def test_a_login_has_an_identifier_of_its_own(visitor: FlaskClient) -> None:
    log_in(visitor)
    first = visitor.get_cookie("session")
    log_in(visitor)
    second = visitor.get_cookie("session")

    assert first is not None
    assert second is not None
    assert first.value != second.value
    assert visitor.get("/issues").headers["Cache-Control"] == "no-store"


def test_a_wrong_password_and_too_many_are_refused(visitor: FlaskClient) -> None:
    answers = [log_in(visitor, password="wrong") for _ in range(11)]

    assert log_in(visitor, "nobody", PASSWORD) == 403
    assert answers == [403] * 10 + [429]
    assert log_in(visitor) == 429


def test_an_editor_adds_another_who_logs_in(
    visitor: FlaskClient, editor: FlaskClient
) -> None:
    form = {"name": "bea", "password": "twelve or more"}
    editor.post("/team", data=form)

    assert log_in(visitor, **form) == 302
    assert "bea <small>(you)" in visitor.get("/team").text
    assert editor.post("/team", data=form).status_code == 409
    assert editor.post("/team", data={**form, "password": "1"}).status_code == 400


def test_a_new_password_ends_all_other_sessions(
    visitor: FlaskClient, editor: FlaskClient
) -> None:
    log_in(visitor)
    new = "a new one, which is long"

    wrong = editor.post("/team/password", data={"old": "x", "new": new})
    short = editor.post("/team/password", data={"old": PASSWORD, "new": "x"})
    editor.post("/team/password", data={"old": PASSWORD, "new": new})

    assert (wrong.status_code, short.status_code) == (403, 400)
    assert "logged out everywhere else" in editor.get("/team").text
    assert visitor.get("/team").status_code == 302
    assert log_in(visitor) == 403
    assert log_in(visitor, password=new) == 302
    assert Editor.count() == 1


def test_a_logout_everywhere_ends_every_session(
    visitor: FlaskClient, editor: FlaskClient
) -> None:
    log_in(visitor)

    editor.post("/logout-everywhere")

    for client in (visitor, editor):
        assert client.get("/issues").status_code == 302


def test_a_form_of_another_site_is_refused(editor: FlaskClient) -> None:
    foreign = {"Sec-Fetch-Site": "cross-site"}

    answer = editor.post("/logout", headers=foreign)

    assert answer.status_code == 403
    assert "This form was sent by another site." in answer.text
    assert editor.get("/issues").status_code == 200


def test_a_login_leads_to_places_of_the_app_only(app: flask.Flask) -> None:
    places = {}
    for place in ("/team", "//evil.example.com", "https://evil.example.com", "/\\evil"):
        form = {"name": "editor", "password": PASSWORD}
        path = f"/login?next={place}"
        places[place] = app.test_client().post(path, data=form).location

    assert places.pop("/team") == "/team"
    assert set(places.values()) == {"/issues"}


def test_the_health_page_names_what_does_not_answer(visitor: FlaskClient) -> None:
    good = visitor.get("/health")
    names = dict.fromkeys(("mail", "redis", "mongodb", "amazon", "queue"), "ok")

    assert good.get_json() == {"status": "ok", "services": names}


def test_every_answer_has_its_policy(visitor: FlaskClient) -> None:
    for path in ("/", "/nowhere", "/static/newsroom.css"):
        with visitor.get(path) as answer:
            headers = answer.headers

        assert "script-src 'self'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
