"""What ``send_mail`` promises on engines without a server, and when a server fails."""

import glob
import inspect
import io
import pathlib
import pickle
import re
import smtplib
import socket
import threading
import time
import traceback
import types
import typing as t

import flask
import pytest
from markupsafe import Markup

import quorum
from quorum import mail
from quorum.engines import smtp
from quorum.engines.mailers import Delivered
from quorum.errors import (
    ConfigError,
    MailUncertainError,
    MessageError,
    NotLoadedError,
    ReceiversRefusedError,
    ServiceRefusedError,
    ServiceUnavailableError,
    SettingMissingError,
    UnsupportedError,
)
from quorum.mail import SERVICE, MailSettings
from quorum.messages import Envelope
from quorum.state import get_handle, get_state
from quorum.testing import outbox
from tests.conftest import MakeApp
from tests.processes import PATIENCE, free_port
from tests.servers_faulty import Fault, FaultySmtpServer

HELLO: t.Final[dict[str, t.Any]] = {
    "subject": "Hello",
    "sender": "shop@example.org",
    "receivers": ["ann@example.org"],
    "data": "On its way.",
}


def write_template(app: flask.Flask, name: str, text: str) -> None:
    folder = pathlib.Path(app.root_path, "templates")
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)


def read_parts(message: t.Any) -> dict[str, str]:
    """Return the text parts of a message by their types."""
    return {
        part.get_content_type(): part.get_content()
        for part in message.walk()
        if part.get_content_maintype() == "text"
    }


def test_the_parameters_are_the_documented_ones() -> None:
    parameters = inspect.signature(quorum.send_mail).parameters

    assert list(parameters)[:8] == [
        *("app", "subject", "sender", "receivers", "data", "plain", "rich", "context")
    ]
    for name in ("receivers", "cc", "bcc", "reply_to", "attachments"):
        assert parameters[name].default == ()  # nothing that calls could share


def test_mail_comes_from_the_configured_sender(make_app: MakeApp) -> None:
    app = make_app(SMTP_URL="memory:", SMTP_SENDER="Shop <shop@example.org>")

    returned = quorum.send_mail(app, "Hello", receivers="ann@example.org", data="Hi")

    (message,) = outbox(app)
    assert message["From"] == returned["From"] == "Shop <shop@example.org>"
    assert message["To"] == "ann@example.org"
    assert message["Message-ID"] == returned["Message-ID"]
    assert message.envelope_from == "shop@example.org"
    assert message.envelope_to == ("ann@example.org",)
    assert isinstance(message, Delivered)
    assert get_handle(SERVICE).engine.address == "memory:"


def test_a_mail_has_only_what_was_given(make_app: MakeApp) -> None:
    app = make_app(SMTP_URL="memory:", SMTP_SENDER="shop@example.org")
    write_template(app, "mail.txt", "Hi")

    quorum.send_mail(receivers="ann@example.org", plain="mail.txt")

    (message,) = outbox(app)
    assert "Subject" not in message
    assert message.get_content_type() == "text/plain"


def test_the_user_is_the_sender_when_nobody_else_is(make_app: MakeApp) -> None:
    host = {"SMTP_HOST": "localhost", "SMTP_USER": "ann@example.org"}
    for variables in (host, {"SMTP_URL": "smtp://ann%40example.org@localhost"}):
        settings = get_state(make_app(**variables)).settings(MailSettings)

        assert mail._find_sender(settings, None) == ("SMTP_USER", "ann@example.org")
        quorum.unload()


@pytest.mark.parametrize(
    ("variables", "sender", "text"),
    [
        ({}, None, "sender: there is none. Pass it, or set SMTP_SENDER."),
        ({"SMTP_SENDER": ""}, None, "sender: there is none."),
        ({"SMTP_SENDER": "shop@x.org"}, "me", "sender: 'me' is not one address"),
    ],
)
def test_a_mail_needs_a_sender(
    make_app: MakeApp, variables: dict[str, str], sender: str | None, text: str
) -> None:
    app = make_app(SMTP_URL="memory:", **variables)

    with pytest.raises(MessageError) as info:
        quorum.send_mail(app, sender=sender, receivers="ann@example.org", data="Hi")

    assert str(info.value).startswith(text)
    assert outbox(app) == []


def test_a_mail_needs_a_sender_before_it_needs_a_server(make_app: MakeApp) -> None:
    make_app()

    with pytest.raises(MessageError, match="there is none"):
        quorum.send_mail(receivers="ann@example.org", data="Hi")


def test_templates_are_rendered_with_the_context(make_app: MakeApp) -> None:
    app = make_app(SMTP_URL="memory:")
    app.context_processor(lambda: {"shop": "Flowers & Co"})
    write_template(app, "order.txt", "Order {{ order }} of {{ name }}, {{ shop }}.")
    write_template(
        app, "order.html.tpl", "<p>{{ name }}, {{ shop }}: {{ config.NAME }}"
    )
    context = {"order": 17, "name": "<Ann>"}

    quorum.send_mail(
        **(HELLO | {"app": app, "data": None, "plain": "order.txt"}),
        rich="order.html.tpl",
        context=context,
    )

    (message,) = outbox(app)
    assert message.get_content_type() == "multipart/alternative"
    assert read_parts(message) == {
        "text/plain": "Order 17 of <Ann>, Flowers & Co.\n",
        "text/html": "<p>&lt;Ann&gt;, Flowers &amp; Co: \n",
    }
    assert context == {"order": 17, "name": "<Ann>"}


def test_templates_see_the_request(make_app: MakeApp) -> None:
    app = make_app(SMTP_URL="memory:")
    write_template(app, "mail.txt", "{{ request.path }} {{ url_for('order') }}")

    @app.get("/order")
    def order() -> str:
        quorum.send_mail(**(HELLO | {"data": None, "plain": "mail.txt"}))
        return "ok"

    assert app.test_client().get("/order").text == "ok"
    assert outbox(app)[0].get_content() == "/order /order\n"


def test_templates_see_what_the_current_context_has(make_app: MakeApp) -> None:
    app = make_app(SMTP_URL="memory:")
    write_template(app, "mail.txt", "{{ g.order }}")

    with app.app_context():
        flask.g.order = "17"
        message = quorum.send_mail(**(HELLO | {"data": None, "plain": "mail.txt"}))

    assert message.get_content() == "17\n"


def test_the_templates_of_the_given_app_count(make_app: MakeApp) -> None:
    shop = make_app(SMTP_URL="memory:")
    bank = quorum.load(flask.Flask("bank"), SMTP_URL="memory:")
    write_template(shop, "mail.txt", "{{ config.WHO }}")
    shop.config["WHO"] = "shop"

    with bank.app_context():
        quorum.send_mail(**(HELLO | {"app": shop, "data": None, "plain": "mail.txt"}))

    assert outbox(bank) == []
    assert outbox(shop)[0].get_content() == "shop\n"


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        ({"plain": "mail.txt"}, {"text/plain": "Hi\n"}),
        ({"rich": "mail.html"}, {"text/html": "<p>Hi\n"}),
        (
            {"plain": "mail.txt", "data": "<b>\nü"},
            {
                "text/plain": "Hi\n",
                "text/html": (
                    '<div style="white-space: pre-wrap">&lt;b&gt;\nü</div>\n'
                ),
            },
        ),
        (
            {"rich": "mail.html", "data": "<b>"},
            {"text/plain": "<b>\n", "text/html": "<p>Hi\n"},
        ),
        (
            {"data": Markup("Tom & <Ann>")},  # text all the same
            {
                "text/plain": "Tom & <Ann>\n",
                "text/html": (
                    '<div style="white-space: pre-wrap">Tom &amp; &lt;Ann&gt;</div>\n'
                ),
            },
        ),
        (
            {"data": "Hi"},
            {
                "text/plain": "Hi\n",
                "text/html": '<div style="white-space: pre-wrap">Hi</div>\n',
            },
        ),
    ],
)
def test_a_mail_has_the_parts_that_were_given(
    make_app: MakeApp, template: dict[str, t.Any], parts: dict[str, str]
) -> None:
    app = make_app(SMTP_URL="memory:")
    write_template(app, "mail.txt", "Hi")
    write_template(app, "mail.html", "<p>Hi")

    quorum.send_mail(**(HELLO | {"app": app, "data": None} | template))

    assert read_parts(outbox(app)[0]) == parts


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("gone.txt", "there is no 'gone.txt' in the templates folder."),
        ("includes.txt", "there is no 'gone.txt' in the templates folder."),
        ("../secret.txt", "there is no '../secret.txt' in the templates folder."),
        (
            "http://127.0.0.1:9/a.txt",
            "there is no 'http://127.0.0.1:9/a.txt' in the templates folder.",
        ),
        ("undefined.txt", "UndefinedError: 'nobody' is undefined."),
        ("broken.txt", "TemplateSyntaxError: unexpected '}'."),
    ],
)
def test_a_template_that_fails_is_an_error_without_data(
    make_app: MakeApp,
    caplog: pytest.LogCaptureFixture,
    template: str,
    reason: str,
) -> None:
    app = make_app(SMTP_URL="memory:")
    pathlib.Path(app.root_path, "secret.txt").write_text("secret")
    write_template(app, "includes.txt", "{% include 'gone.txt' %}")
    write_template(app, "undefined.txt", "{{ nobody.name }}")
    write_template(app, "broken.txt", "{{ } }}")
    before = set(pathlib.Path(app.root_path).rglob("*"))

    with pytest.raises(MessageError) as info:
        quorum.send_mail(**(HELLO | {"app": app, "data": None, "plain": template}))
    quorum.send_mail(**HELLO, app=app, plain=template)

    fault = f"the template {template!r} cannot be rendered"
    assert str(info.value) == f"plain: {fault}: {reason}"
    assert read_parts(outbox(app)[0])["text/plain"] == "On its way.\n"
    (record,) = caplog.records
    assert record.getMessage() == f"Mail: {fault}, so data was sent in its place."
    assert record.exc_info
    assert set(pathlib.Path(app.root_path).rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ({"data": None}, "data"),
        ({"data": b"Hi"}, "data"),
        ({"receivers": []}, "receivers"),
        ({"receivers": ["Ann"]}, "receivers"),
        ({"subject": "Hello\nBcc: eve@example.org"}, "subject"),
        ({"headers": {"X-A": "b\r\nBcc: eve@example.org"}}, "headers"),
        ({"receivers": ["Ann\nBcc: eve@x.org <ann@example.org>"]}, "receivers"),
        ({"sender": "shop@example.org\nBcc: eve@example.org"}, "sender"),
        ({"data": "x" * 2000}, "message"),
        ({"plain": "gone.txt", "data": None}, "plain"),
        ({"rich": "gone.html", "data": None}, "rich"),
    ],
)
@pytest.mark.parametrize("function", ["send_mail", "send_mail_a"])
def test_a_mail_that_cannot_be_sent_makes_no_connection(
    make_app: MakeApp, function: str, arguments: dict[str, t.Any], argument: str
) -> None:
    with FaultySmtpServer() as server:
        app = make_app(SMTP_URL=server.url, SMTP_LIMIT=2000)

        with pytest.raises(MessageError) as info:
            getattr(quorum, function)(**(HELLO | {"app": app} | arguments))

        assert info.value.argument == argument
        assert server.connections == 0


def test_a_mail_of_the_size_of_the_limit_is_sent(make_app: MakeApp) -> None:
    arguments: dict[str, t.Any] = HELLO | {
        "headers": {"Message-ID": "<17@example.org>"}
    }
    app = make_app(SMTP_URL="memory:")
    size = len(quorum.send_mail(app, **arguments).as_bytes())
    quorum.unload()

    app = make_app(SMTP_URL="memory:", SMTP_LIMIT=size)
    quorum.send_mail(app, **arguments)
    quorum.unload()

    app = make_app(SMTP_URL="memory:", SMTP_LIMIT=size - 1)
    with pytest.raises(MessageError, match=f"it has {size} bytes"):
        quorum.send_mail(app, **arguments)


def test_a_mail_may_have_ten_million_bytes(make_app: MakeApp) -> None:
    app = make_app(SMTP_URL="memory:")
    attachment = quorum.Attachment("a", b"x" * 7_000_000)

    quorum.send_mail(app=app, **HELLO, attachments=[attachment])
    with pytest.raises(MessageError, match="SMTP_LIMIT is 10000000"):
        quorum.send_mail(app=app, **HELLO, attachments=[attachment, attachment])

    assert len(outbox(app)) == 1


def test_a_mail_needs_a_loaded_app_and_a_server(make_app: MakeApp) -> None:
    with pytest.raises(NotLoadedError):
        quorum.send_mail(**HELLO)
    make_app()

    for send in (quorum.send_mail, quorum.send_mail_a):
        with pytest.raises(SettingMissingError) as info:
            send(**HELLO)
        assert info.value.name == "SMTP_URL"
        assert "SMTP_HOST will do as well." in str(info.value)


@pytest.mark.parametrize(
    "url",
    [
        "smtp:",
        "smtp:localhost",
        "smtp://localhost/shop",
        "smtp://localhost?timeout=5",
        "smtp://localhost:smtp",
        "smtp://ann@example.org:word@localhost",
        "smtp://ann:%ff@localhost",
        "smtp://%ff@localhost",
        "http://localhost",
        "memory:shop",
        "memory://shop",
        "console:x",
        "file:",
        "file://host/folder",
        "file:/tmp/a#b",
        "smtp://a..b",
    ],
)
def test_a_bad_url_is_found_when_the_app_is_loaded(make_app: MakeApp, url: str) -> None:
    with pytest.raises(
        ConfigError, match=r"SMTP_URL \(keyword\): its value \(hidden\)"
    ):
        make_app(SMTP_URL=url)


@pytest.mark.parametrize(
    ("variables", "server"),
    [
        (
            {"SMTP_URL": "smtp://ann%40x.org:p%2F%3A%40@mail.example.org"},
            ("mail.example.org", 25, False, "ann@x.org", "p/:@"),
        ),
        (
            {"SMTP_URL": "smtps://mail.example.org/"},
            ("mail.example.org", 465, True, None, None),
        ),
        ({"SMTP_URL": "smtp://[::1]:587"}, ("::1", 587, False, None, None)),
        (
            {"SMTP_HOST": "mail.example.org"},
            ("mail.example.org", 25, False, None, None),
        ),
        ({"SMTP_HOST": "[::1]:587"}, ("::1", 587, False, None, None)),
        (
            {"SMTP_HOST": "mail:465", "SMTP_USER": "ann", "SMTP_PASSWORD": "p"},
            ("mail", 465, True, "ann", "p"),
        ),
    ],
)
def test_url_and_host_name_the_server(
    make_app: MakeApp, variables: dict[str, str], server: tuple[object, ...]
) -> None:
    settings = get_state(make_app(**variables)).settings(MailSettings)

    assert settings.server == server
    assert settings.configured


def test_the_higher_source_decides_between_url_and_host(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_HOST", "env.example.org")
    monkeypatch.setenv("SMTP_USER", "ann")
    url = get_state(make_app(SMTP_URL="smtp://code.example.org")).settings(MailSettings)
    assert url.server[:4] == ("code.example.org", 25, False, None)
    with pytest.raises(SettingMissingError):
        quorum.conf(MailSettings.host)
    quorum.unload()

    monkeypatch.delenv("SMTP_HOST")
    monkeypatch.delenv("SMTP_USER")
    monkeypatch.setenv("SMTP_URL", "smtps://env.example.org")
    host = get_state(make_app(SMTP_HOST="code.example.org")).settings(MailSettings)
    assert host.server[:4] == ("code.example.org", 25, False, None)
    with pytest.raises(SettingMissingError):
        quorum.conf(MailSettings.location)


def test_one_source_with_both_is_an_error(make_app: MakeApp) -> None:
    with pytest.raises(ConfigError) as info:
        make_app(SMTP_URL="memory:", SMTP_HOST="localhost", SMTP_PASSWORD="sesame")

    assert str(info.value) == (
        "SMTP_URL (keyword): SMTP_HOST and SMTP_PASSWORD would not count beside it. "
        "Keep one or the other."
    )


def test_a_user_that_would_not_count_is_an_error(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_URL", "smtp://localhost")

    with pytest.raises(ConfigError, match=r"SMTP_URL \(environment\): SMTP_USER would"):
        make_app(SMTP_USER="ann")


def test_a_sender_that_is_no_address_is_found_when_the_app_is_loaded(
    make_app: MakeApp,
) -> None:
    with pytest.raises(ConfigError, match=r"SMTP_SENDER .*'shop' is not an address"):
        make_app(SMTP_SENDER="shop")


def test_console_prints_the_message(
    make_app: MakeApp, capsys: pytest.CaptureFixture[str]
) -> None:
    app = make_app(SMTP_URL="console:")

    quorum.send_mail(app=app, **HELLO, bcc="eve@example.org")

    printed = capsys.readouterr().out
    assert "Mail to ann@example.org, eve@example.org\n" in printed
    assert "Subject: Hello\n" in printed
    assert "\r" not in printed


def test_console_prints_at_once(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, "utf-8"))

    quorum.send_mail(make_app(SMTP_URL="console:"), **HELLO)

    assert b"Subject: Hello" in raw.getvalue()


def test_file_writes_whole_messages_to_a_folder_that_it_makes(
    make_app: MakeApp, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "a b" / "mail"
    url = f"file:{str(folder).replace(' ', '%20')}"

    quorum.send_mail(make_app(SMTP_URL=url), **HELLO)
    quorum.unload()
    app = make_app(SMTP_URL=url)
    quorum.send_mail(app=app, **HELLO)

    first, second = sorted(folder.iterdir())
    assert first.suffix == second.suffix == ".eml"
    assert not first.name.startswith(".")
    assert b"\r\nSubject: Hello\r\n" in first.read_bytes()
    get_state(app).handle(SERVICE).engine.ping()


def test_who_looks_into_the_folder_sees_whole_mails_only(
    make_app: MakeApp, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(SMTP_URL=f"file:{tmp_path}")
    seen: list[list[str]] = []
    replace = pathlib.Path.replace

    def look(path: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
        seen.append(glob.glob(f"{tmp_path}/*"))  # noqa: PTH207 - it skips the hidden
        return replace(path, target)

    monkeypatch.setattr(pathlib.Path, "replace", look)
    quorum.send_mail(app=app, **HELLO)

    assert (seen, len(list(tmp_path.iterdir()))) == ([[]], 1)


def test_a_folder_that_cannot_be_used_is_named(
    make_app: MakeApp, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "file").write_text("")
    app = make_app(SMTP_URL=f"file:{tmp_path}/file")
    with pytest.raises(ConfigError) as info:
        quorum.send_mail(app=app, **HELLO)
    assert str(info.value) == (
        f"SMTP_URL (mail): the folder '{tmp_path}/file' cannot be made: File exists."
    )
    quorum.unload()

    folder = tmp_path / "folder"
    app = make_app(SMTP_URL=f"file:{folder}")
    get_handle(SERVICE).engine.ping()
    folder.rmdir()
    place = f"^mail at file:{re.escape(str(folder))}: "
    with pytest.raises(ServiceUnavailableError, match=f"{place}.*No such file"):
        quorum.send_mail(app=app, **HELLO)
    folder.touch()
    with pytest.raises(ServiceUnavailableError, match=f"{place}.*Not a directory"):
        quorum.send_mail(app=app, **HELLO)
    with pytest.raises(ServiceUnavailableError, match=f"{place}it is no folder"):
        get_handle(SERVICE).engine.ping()


def test_an_outbox_needs_the_memory_engine(make_app: MakeApp) -> None:
    make_app(SMTP_URL="console:")

    with pytest.raises(UnsupportedError, match=r"An outbox of console: .*memory:"):
        outbox()


def test_an_outbox_goes_with_its_app(make_app: MakeApp) -> None:
    app = make_app(SMTP_URL="memory:")
    quorum.send_mail(app=app, **HELLO)
    quorum.unload()

    assert outbox(make_app(SMTP_URL="memory:")) == []


def test_mail_in_the_background_is_a_task(make_app: MakeApp) -> None:
    app = make_app(SMTP_URL="memory:")

    task = quorum.send_mail_a(app, "Hello", "shop@x.org", ["ann@x.org"], data="Hi")
    task.result(PATIENCE)

    (message,) = outbox(app)
    assert message["Subject"] == "Hello"
    assert task.name == f"mail {message['Message-ID']}"


def test_mail_in_the_background_is_composed_at_the_call(make_app: MakeApp) -> None:
    app = make_app(SMTP_URL="memory:")
    write_template(app, "mail.txt", "{{ order.name }}")
    order = {"name": "first"}

    with app.test_request_context("/"):
        arguments: dict[str, t.Any] = HELLO | {"data": None, "plain": "mail.txt"}
        task = quorum.send_mail_a(**arguments, context={"order": order})
        order["name"] = "second"
    task.result(PATIENCE)

    assert outbox(app)[0].get_content() == "first\n"


def test_wrong_arguments_are_found_at_the_call(make_app: MakeApp) -> None:
    make_app(SMTP_URL="memory:")

    wrong: t.Any = {"subjekt": "Hello"}
    with pytest.raises(TypeError, match="subjekt"):
        quorum.send_mail_a(**wrong)


def test_mail_in_the_background_is_tried_again(make_app: MakeApp) -> None:
    script = [Fault("mail", 451), Fault("connect", "drop"), Fault("data", 421)]
    with FaultySmtpServer(script) as server:
        app = make_app(SMTP_URL=server.url, QUEUE_BACKOFF=0.01)

        quorum.send_mail_a(app=app, **HELLO).result(PATIENCE)

        assert len(server.received) == 1


def test_mail_in_the_background_is_tried_again_eight_times(make_app: MakeApp) -> None:
    with FaultySmtpServer([Fault("mail", 451)] * 20) as server:
        app = make_app(SMTP_URL=server.url, QUEUE_BACKOFF=0.001)

        with pytest.raises(ServiceUnavailableError):
            quorum.send_mail_a(app=app, **HELLO).result(PATIENCE)

        assert server.commands.count("MAIL") == 1 + 8


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("mail", 550), ServiceRefusedError),
        (Fault("final-dot", 554), ServiceRefusedError),
        (Fault("final-dot", "drop"), MailUncertainError),
    ],
)
def test_what_would_not_help_is_not_tried_again(
    make_app: MakeApp, fault: Fault, error: type[Exception]
) -> None:
    with FaultySmtpServer([fault]) as server:
        app = make_app(SMTP_URL=server.url, QUEUE_BACKOFF=0.01)

        with pytest.raises(error):
            quorum.send_mail_a(app=app, **HELLO).result(PATIENCE)

        assert server.commands.count("MAIL") == 1


def test_what_every_receiver_refuses_for_now_is_tried_again_by_the_same_task(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another task would begin at once, and once more, and wait for nothing."""
    started: list[str] = []
    deliver = mail._deliver_later

    def note(envelope: t.Any, identifier: str) -> t.Any:
        started.append(identifier)
        return deliver(envelope, identifier)

    monkeypatch.setattr(mail, "_deliver_later", note)
    with FaultySmtpServer([Fault("rcpt", 450), Fault("rcpt", 450)]) as server:
        app = make_app(SMTP_URL=server.url, QUEUE_BACKOFF=0.01)

        quorum.send_mail_a(app=app, **HELLO).result(PATIENCE)

        assert len(server.received) == len(started) == 1


def test_what_fails_for_a_receiver_later_is_logged_with_the_mail(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    script = [Fault("rcpt", 451, ["bob@example.org"]), Fault("rcpt", 550)]
    receivers = ["ann@example.org", "bob@example.org"]
    with FaultySmtpServer(script) as server:
        app = make_app(SMTP_URL=server.url, QUEUE_BACKOFF=0.01)

        task = quorum.send_mail_a(**(HELLO | {"app": app, "receivers": receivers}))
        task.result(PATIENCE)
        wait_for(lambda: "550" in caplog.text)

    assert task.name in caplog.messages[-1]


def test_only_receivers_without_the_mail_are_tried_again(make_app: MakeApp) -> None:
    script = [Fault("rcpt", 451, ["bob@example.org"]), Fault("rcpt", 450)]
    receivers = ["ann@example.org", "bob@example.org"]
    with FaultySmtpServer(script) as server:
        app = make_app(SMTP_URL=server.url, QUEUE_BACKOFF=0.01)

        quorum.send_mail_a(**(HELLO | {"app": app, "receivers": receivers})).result(9)
        wait_for(lambda: len(server.received) == 2)

        assert [each.receivers for each in server.received] == [
            ["ann@example.org"],
            ["bob@example.org"],
        ]
        assert server.received[0].data == server.received[1].data


def wait_for(condition: t.Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_is_refused_for_good_is_reported(make_app: MakeApp) -> None:
    fault = Fault("rcpt", 550, ["bob@example.org"])
    receivers = ["ann@example.org", "bob@example.org", "eve@example.org"]
    with FaultySmtpServer([fault]) as server:
        app = make_app(SMTP_URL=server.url)

        with pytest.raises(ReceiversRefusedError) as info:
            quorum.send_mail(**(HELLO | {"app": app, "receivers": receivers}))

        error = pickle.loads(pickle.dumps(info.value))
        assert error.refused == {"bob@example.org": "550 scripted fault"}
        assert error.accepted == ("ann@example.org", "eve@example.org")
        assert not error.retryable
        assert str(error) == (
            f"mail at {server.host}:{server.port}: the mail was refused for "
            "bob@example.org (550 scripted fault); the other 2 have it."
        )
        (received,) = server.received
        assert received.receivers == ["ann@example.org", "eve@example.org"]


@pytest.mark.parametrize(("code", "retryable"), [(450, True), (550, False)])
def test_a_mail_that_every_receiver_refuses_is_not_sent(
    make_app: MakeApp, code: int, retryable: bool
) -> None:
    with FaultySmtpServer([Fault("rcpt", code)]) as server:
        app = make_app(SMTP_URL=server.url)

        with pytest.raises(ReceiversRefusedError, match="nobody has it") as info:
            quorum.send_mail(app=app, **HELLO)
        quorum.send_mail(app=app, **HELLO)

        assert info.value.retryable is retryable
        assert server.connections == 1
        assert server.commands == [
            *("EHLO", "MAIL", "RCPT", "RSET"),
            *("MAIL", "RCPT", "DATA"),
        ]
        assert len(server.received) == 1


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        (Fault("connect", 554), ServiceRefusedError, "554 scripted fault"),
        (Fault("connect", 421), ServiceUnavailableError, "421 scripted fault"),
        (Fault("connect", "drop"), ServiceUnavailableError, "closed"),
        (Fault("connect", "silent"), ServiceUnavailableError, "answer in time"),
        (Fault("ehlo", "silent"), ServiceUnavailableError, "answer in time"),
        (Fault("mail", "silent"), ServiceUnavailableError, "answer in time"),
        (Fault("data", "silent"), ServiceUnavailableError, "answer in time"),
        (Fault("connect", 499), ServiceUnavailableError, "499 scripted fault"),
        (Fault("connect", 500), ServiceRefusedError, "500 scripted fault"),
        (Fault("mail", 400), ServiceUnavailableError, "400 scripted fault"),
        (Fault("mail", 499), ServiceUnavailableError, "499 scripted fault"),
        (Fault("mail", 500), ServiceRefusedError, "500 scripted fault"),
        (Fault("mail", 451), ServiceUnavailableError, "451 scripted fault"),
        (Fault("mail", 550), ServiceRefusedError, "550 scripted fault"),
        (Fault("data", 451), ServiceUnavailableError, "451 scripted fault"),
        (Fault("data", 554), ServiceRefusedError, "554 scripted fault"),
        (Fault("final-dot", 400), ServiceUnavailableError, "400 scripted fault"),
        (Fault("final-dot", 451), ServiceUnavailableError, "451 scripted fault"),
        (Fault("final-dot", 552), ServiceRefusedError, "552 scripted fault"),
        (Fault("final-dot", 599), ServiceRefusedError, "599 scripted fault"),
    ],
)
def test_a_failure_is_named_and_the_next_mail_is_sent(
    make_app: MakeApp, fault: Fault, error: type[Exception], text: str
) -> None:
    with FaultySmtpServer([fault]) as server:
        app = make_app(SMTP_URL=server.url, SMTP_TIMEOUT=1)

        with pytest.raises(error) as info:
            quorum.send_mail(app=app, **HELLO)
        assert server.received == []
        quorum.send_mail(app=app, **HELLO)

        told = str(info.value)
        assert told.startswith(f"mail at {server.host}:{server.port}: ")
        assert told.count("mail at ") == 1
        assert text in told
        assert len(server.received) == 1
        kept = fault.stage != "connect" and isinstance(fault.action, int)
        assert server.connections == (1 if kept else 2)
        assert ("RSET" in server.commands) is kept


@pytest.mark.parametrize("action", ["drop", 251, 421, 451, 503])
def test_a_connection_that_cannot_be_reset_is_closed(
    make_app: MakeApp, action: t.Literal["drop"] | int
) -> None:
    script = [Fault("mail", 550), Fault("reset", action)]
    with FaultySmtpServer(script) as server:
        app = make_app(SMTP_URL=server.url)

        with pytest.raises(ServiceRefusedError, match="550 scripted fault"):
            quorum.send_mail(app=app, **HELLO)
        wait_for(lambda: not server.open)
        quorum.send_mail(app=app, **HELLO)

        assert len(server.received) == 1
        assert server.connections == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault("mail", "drop"),
        Fault("mail", 421),
        Fault("rcpt", "drop"),
        Fault("rcpt", 421),
        Fault("data", "drop"),
        Fault("body", "drop"),
        Fault("final-dot", 421),
    ],
)
def test_a_loss_before_the_end_is_made_good(make_app: MakeApp, fault: Fault) -> None:
    with FaultySmtpServer([fault]) as server:
        app = make_app(SMTP_URL=server.url)
        attachment = quorum.Attachment("a", b"x" * 6_500_000)

        quorum.send_mail(app=app, **HELLO, attachments=[attachment])

        assert len(server.received) == 1
        assert server.connections == 2


@pytest.mark.parametrize(
    ("action", "text"),
    [("drop", "unexpectedly closed"), (421, r"\d: 421 scripted fault")],
)
def test_a_second_loss_is_an_error(
    make_app: MakeApp, action: t.Literal["drop"] | int, text: str
) -> None:
    with FaultySmtpServer([Fault("mail", action), Fault("mail", action)]) as server:
        app = make_app(SMTP_URL=server.url)

        with pytest.raises(ServiceUnavailableError, match=text):
            quorum.send_mail(app=app, **HELLO)


@pytest.mark.parametrize("action", ["drop", "silent"])
def test_a_loss_after_the_end_is_not_tried_again(
    make_app: MakeApp, action: t.Literal["drop", "silent"]
) -> None:
    with FaultySmtpServer([Fault("final-dot", action)]) as server:
        app = make_app(SMTP_URL=server.url, SMTP_TIMEOUT=0.2)
        start = time.monotonic()

        with pytest.raises(MailUncertainError, match="may deliver it twice") as info:
            quorum.send_mail(app=app, **HELLO)

        if action == "silent":  # six times the time limit: it may be busy
            assert 1.1 < time.monotonic() - start < 20
        assert (info.value.host, info.value.port) == (server.host, server.port)
        assert not info.value.retryable
        assert len(server.received) == server.connections == 1


def test_the_next_mail_has_the_usual_time_limit_again(make_app: MakeApp) -> None:
    with FaultySmtpServer([None, Fault("mail", "silent")]) as server:
        app = make_app(SMTP_URL=server.url, SMTP_TIMEOUT=1.5)
        quorum.send_mail(app=app, **HELLO)
        start = time.monotonic()

        with pytest.raises(ServiceUnavailableError, match="answer in time"):
            quorum.send_mail(app=app, **HELLO)

        assert time.monotonic() - start < 7


def test_one_connection_serves_many_mails(make_app: MakeApp) -> None:
    with FaultySmtpServer() as server:
        app = make_app(SMTP_URL=server.url)

        for _ in range(3):
            quorum.send_mail(app=app, **HELLO)

        assert server.connections == 1
        assert server.commands == ["EHLO", *["MAIL", "RCPT", "DATA"] * 3]


def test_a_connection_that_the_server_dropped_is_replaced(make_app: MakeApp) -> None:
    script = [None, Fault("idle", "drop"), None, Fault("idle", 421)]
    with FaultySmtpServer(script) as server:
        app = make_app(SMTP_URL=server.url)

        for _ in range(3):
            quorum.send_mail(app=app, **HELLO)

        assert len(server.received) == 3
        assert server.connections == 3


def test_an_idle_connection_is_closed(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "IDLE", 0.2)
    with FaultySmtpServer() as server:
        app = make_app(SMTP_URL=server.url)
        quorum.send_mail(app=app, **HELLO)

        wait_for(lambda: server.commands[-1] == "QUIT")
        quorum.send_mail(app=app, **HELLO)

        assert server.connections == 2


def test_each_connection_is_closed_when_it_has_been_idle_for_long(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    timers: list[tuple[float, t.Callable[[], None]]] = []
    closed: list[tuple[str, float]] = []

    class Timer:
        daemon = False

        def __init__(self, seconds: float, function: t.Callable[[], None]) -> None:
            timers.append((now + seconds, function))

        def start(self) -> None:
            assert self.daemon  # else a program would not end before

    make_app(SMTP_URL="smtp://127.0.0.1:25")
    mailer: t.Any = get_handle(SERVICE).engine
    clock = types.SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(smtp, "time", clock)
    monkeypatch.setattr(smtp, "threading", types.SimpleNamespace(Timer=Timer))
    monkeypatch.setattr(smtp, "_quit", lambda name: closed.append((name, now)))
    for name, moment in (("first", 0.0), ("second", 10.0), ("third", 15.0)):
        now = moment
        mailer._keep(name)
    for _ in range(3):
        now, sweep = timers.pop()
        assert not timers
        sweep()

    assert closed == [("first", 30.0), ("second", 40.0), ("third", 45.0)]
    assert not timers


def test_connections_ask_for_the_name_of_the_machine_once(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(["here.x.org"])
    monkeypatch.setattr(socket, "getfqdn", lambda: next(names))
    with FaultySmtpServer([None, Fault("idle", "drop")]) as server:
        make_app(SMTP_URL=server.url)

        for _ in range(3):
            quorum.send_mail(**HELLO)

        assert server.lines.count("ehlo here.x.org") == 2


def test_a_check_asks_and_says_goodbye(make_app: MakeApp) -> None:
    with FaultySmtpServer() as server:
        make_app(SMTP_URL=server.url)

        get_handle(SERVICE).engine.ping()

        wait_for(lambda: not server.open)
        assert server.commands == ["EHLO", "NOOP", "QUIT"]


def test_a_check_tells_that_the_connection_was_lost(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = smtplib.SMTP.noop

    def lose(connection: smtplib.SMTP) -> t.Any:
        connection.close()
        return original(connection)

    monkeypatch.setattr(smtplib.SMTP, "noop", lose)
    with FaultySmtpServer() as server:
        make_app(SMTP_URL=server.url)

        with pytest.raises(ServiceUnavailableError, match="run connect"):
            get_handle(SERVICE).engine.ping()


def test_a_connection_that_is_too_old_is_not_used(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultySmtpServer() as server:
        app = make_app(SMTP_URL=server.url)
        quorum.send_mail(app=app, **HELLO)

        monkeypatch.setattr(smtp, "IDLE", 0.0)
        quorum.send_mail(app=app, **HELLO)

        assert server.connections == 2


def test_unload_says_goodbye_and_leaves_no_thread(make_app: MakeApp) -> None:
    before = threading.active_count()
    with FaultySmtpServer() as server:
        serving = threading.active_count()
        app = make_app(SMTP_URL=server.url)
        quorum.send_mail(app=app, **HELLO)

        quorum.unload()

        assert not find_timers()
        wait_for(lambda: server.commands[-1] == "QUIT")
        wait_for(lambda: threading.active_count() <= serving)
    assert threading.active_count() <= before


def test_a_goodbye_that_nobody_answers_is_not_waited_for_long(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float | None] = []

    def wait(connection: smtplib.SMTP) -> None:
        assert connection.sock
        limits.append(connection.sock.gettimeout())
        raise TimeoutError

    monkeypatch.setattr(smtplib.SMTP, "quit", wait)
    with FaultySmtpServer() as server:
        app = make_app(SMTP_URL=server.url, SMTP_TIMEOUT=9)
        quorum.send_mail(app=app, **HELLO)

        quorum.unload()

        wait_for(lambda: not server.open)
    assert limits == [1.0]


def find_timers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if isinstance(each, threading.Timer)]


def test_a_mail_that_is_sent_while_the_app_is_unloaded_leaves_nothing(
    make_app: MakeApp,
) -> None:
    content = b"Subject: Hello\r\n\r\nOn its way.\r\n"
    with FaultySmtpServer() as server:
        make_app(SMTP_URL=server.url)
        engine = get_handle(SERVICE).engine
        quorum.unload()

        engine.send(Envelope("shop@x.org", ("ann@x.org",), content, False))

        assert not find_timers()
        assert server.commands[-1] == "QUIT"
        assert server.received[0].data == content


def test_threads_send_at_once_by_connections_of_their_own(make_app: MakeApp) -> None:
    with FaultySmtpServer() as server:
        app = make_app(SMTP_URL=server.url)
        start = threading.Barrier(4)

        def send(number: int) -> None:
            start.wait()
            for each in range(5):
                quorum.send_mail(**(HELLO | {"app": app, "data": f"{number} {each}"}))

        threads = [threading.Thread(target=send, args=[n]) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(server.received) == 20
        assert len({each.data for each in server.received}) == 20
        assert server.connections <= 4


def test_lines_of_dots_arrive_as_they_are(make_app: MakeApp) -> None:
    with FaultySmtpServer() as server:
        app = make_app(SMTP_URL=server.url)

        quorum.send_mail(**(HELLO | {"app": app, "data": ".\n..\n.a\n"}), rich=None)

        (received,) = server.received
        assert read_parts(received.message)["text/plain"].splitlines() == [
            ".",
            "..",
            ".a",
        ]


def test_a_server_without_starttls_is_used_when_nobody_logs_in(
    make_app: MakeApp,
) -> None:
    with FaultySmtpServer() as server:
        make_app(SMTP_HOST=f"{server.host}:{server.port}")

        quorum.send_mail(**HELLO)

        assert len(server.received) == 1
        assert "AUTH" not in server.commands


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        (
            {"SMTP_STARTTLS": True},
            "it offers no STARTTLS, which SMTP_STARTTLS asks for",
        ),
        ({"SMTP_URL": "smtp://ann:sesame@{}"}, "the password was not sent"),
    ],
)
def test_a_server_that_cannot_encrypt_is_not_told_the_password(
    make_app: MakeApp, variables: dict[str, t.Any], text: str
) -> None:
    with FaultySmtpServer(extensions=("AUTH PLAIN LOGIN",)) as server:
        place = f"{server.host}:{server.port}"
        given = {"SMTP_URL": f"smtp://{place}"} | variables
        make_app(**{k: str(v).format(place) for k, v in given.items()})

        with pytest.raises(ServiceRefusedError, match=text) as info:
            quorum.send_mail(**HELLO)

        assert "sesame" not in str(info.value)
        assert set(server.commands) <= {"EHLO", "QUIT"}


def test_a_user_needs_a_password_that_smtplib_can_send(make_app: MakeApp) -> None:
    with FaultySmtpServer(extensions=("AUTH PLAIN",)) as server:
        place = f"{server.host}:{server.port}"
        insecure = {"SMTP_INSECURE_AUTH": True}
        make_app(SMTP_URL=f"smtp://ann@{place}", **insecure)
        with pytest.raises(SettingMissingError, match="to the user 'ann'") as missing:
            quorum.send_mail(**HELLO)
        assert missing.value.name == "SMTP_PASSWORD"
        quorum.unload()

        make_app(SMTP_URL=f"smtp://ann:ges%C3%A4usel@{place}", **insecure)
        with pytest.raises(
            ConfigError, match=r"^SMTP_PASSWORD \(mail\): .* ASCII"
        ) as info:
            quorum.send_mail(**HELLO)

        assert "usel" not in str(info.value)


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        ("535 5.7.8 sesame is wrong", ServiceRefusedError, "password: 535 5.7.8."),
        ("535 5.7.123 sesame", ServiceRefusedError, "password: 535 5.7.123."),
        ("535 sesame is wrong", ServiceRefusedError, "password: 535."),
        ("535 5.7.8sesame", ServiceRefusedError, "password: 535."),
        ("535 x5.7.8 sesame", ServiceRefusedError, "password: 535."),
        ("500 5.5.1 sesame", ServiceRefusedError, "password: 500 5.5.1."),
        ("399 3.0.0 sesame", ServiceRefusedError, "password: 399 3.0.0."),
        (
            "400 4.7.0 sesame",
            ServiceUnavailableError,
            "in: 400 4.7.0. Trying again may help.",
        ),
        ("499 sesame", ServiceUnavailableError, "in: 499. Trying again may help."),
    ],
)
def test_what_is_said_of_a_login_is_told_without_what_may_be_the_password(
    make_app: MakeApp, answer: str, error: type[Exception], told: str
) -> None:
    with FaultySmtpServer(extensions=("AUTH PLAIN",), login=answer) as server:
        url = server.url.replace("//", "//ann:sesame@")
        make_app(SMTP_URL=url, SMTP_INSECURE_AUTH=True)

        with pytest.raises(error) as info:
            quorum.send_mail(**HELLO)

    assert str(info.value).startswith(f"mail at {server.host}:{server.port}: it ")
    assert str(info.value).endswith(told)
    assert "sesame" not in "".join(traceback.format_exception(info.value))


def test_a_connection_that_is_lost_as_it_logs_in_may_be_tried_again(
    make_app: MakeApp,
) -> None:
    with FaultySmtpServer(extensions=("AUTH PLAIN",), login="") as server:
        url = server.url.replace("//", "//ann:sesame@")
        make_app(SMTP_URL=url, SMTP_INSECURE_AUTH=True)

        with pytest.raises(ServiceUnavailableError, match="unexpectedly closed"):
            quorum.send_mail(**HELLO)


@pytest.mark.parametrize("extensions", [(), ("AUTH GSSAPI",)])
def test_a_server_with_no_login_for_us_is_named(
    make_app: MakeApp, extensions: tuple[str, ...]
) -> None:
    with FaultySmtpServer(extensions=extensions) as server:
        url = server.url.replace("//", "//ann:sesame@")
        make_app(SMTP_URL=url, SMTP_INSECURE_AUTH=True)

        with pytest.raises(ServiceRefusedError, match="offers no login that Python"):
            quorum.send_mail(**HELLO)


def test_a_mail_over_the_size_that_the_server_takes_is_not_sent(
    make_app: MakeApp,
) -> None:
    with FaultySmtpServer(extensions=("SIZE 100",)) as server:
        make_app(SMTP_URL=server.url)

        with pytest.raises(ServiceRefusedError, match="it takes 100 bytes"):
            quorum.send_mail(**HELLO)

        assert "MAIL" not in server.commands


@pytest.mark.parametrize("size", ["SIZE", "SIZE 0", "SIZE many"])
def test_a_size_that_says_nothing_limits_nothing(make_app: MakeApp, size: str) -> None:
    with FaultySmtpServer(extensions=(size,)) as server:
        make_app(SMTP_URL=server.url)

        quorum.send_mail(**HELLO)

        assert len(server.received) == 1


def test_an_international_address_needs_a_server_that_takes_it(
    make_app: MakeApp,
) -> None:
    arguments: dict[str, t.Any] = HELLO | {"receivers": "zoë@example.org"}
    with FaultySmtpServer(extensions=("SMTPUTF8", "8BITMIME")) as server:
        make_app(SMTP_URL=server.url)
        quorum.send_mail(**arguments)
        quorum.send_mail_a(**arguments).result(PATIENCE)
        assert [each.receivers for each in server.received] == [["zoë@example.org"]] * 2
        quorum.unload()

    with FaultySmtpServer(extensions=()) as server:
        make_app(SMTP_URL=server.url)
        with pytest.raises(ServiceRefusedError, match="SMTPUTF8"):
            quorum.send_mail(**arguments)
        quorum.send_mail(**HELLO)
        assert len(server.received) == 1


@pytest.mark.parametrize(
    ("extensions", "options"),
    [
        ((), ""),
        (("SIZE",), " SIZE={size}"),
        (("SIZE {size}",), " SIZE={size}"),
        (("SIZE", "SMTPUTF8", "8BITMIME"), " SIZE={size}"),
    ],
)
def test_a_server_is_told_the_size_if_it_wants_to_know(
    make_app: MakeApp, extensions: tuple[str, ...], options: str
) -> None:
    arguments: dict[str, t.Any] = HELLO | {
        "headers": {"Message-ID": "<17@example.org>"}
    }
    make_app(SMTP_URL="memory:")
    size = len(quorum.send_mail(**arguments).as_bytes())
    quorum.unload()

    offered = [each.format(size=size) for each in extensions]
    with FaultySmtpServer(extensions=offered) as server:
        make_app(SMTP_URL=server.url)
        assert get_handle(SERVICE).engine.address == f"{server.host}:{server.port}"
        quorum.send_mail(**arguments)

    told = f"mail from:<shop@example.org>{options.format(size=size)}"
    assert server.lines[1].replace("FROM", "from") == told  # Python 3.13 says it so


def test_a_server_is_told_that_an_address_is_international(make_app: MakeApp) -> None:
    with FaultySmtpServer() as server:
        make_app(SMTP_URL=server.url)
        arguments: dict[str, t.Any] = HELLO | {"receivers": "zoë@example.org"}
        quorum.send_mail(**arguments)
        quorum.send_mail_a(**arguments).result(PATIENCE)

    told = [line.partition("> ")[2] for line in server.lines if line[:4] == "mail"]
    assert told == [
        f"SIZE={len(received.data)} SMTPUTF8 BODY=8BITMIME"
        for received in server.received
    ]
    assert len(told) == 2


def test_a_server_that_is_not_there_is_named(make_app: MakeApp) -> None:
    port = free_port()
    make_app(SMTP_URL=f"smtp://127.0.0.1:{port}")

    with pytest.raises(ServiceUnavailableError, match=f"127.0.0.1:{port}: .*refused"):
        quorum.send_mail(**HELLO)


def test_a_server_that_is_silent_is_not_waited_for_twice(make_app: MakeApp) -> None:
    with FaultySmtpServer([Fault("mail", "silent")] * 2) as server:
        make_app(SMTP_URL=server.url, SMTP_TIMEOUT=0.3)

        with pytest.raises(ServiceUnavailableError, match="answer in time"):
            quorum.send_mail(**HELLO)

        assert server.connections == 1


def test_a_server_that_talks_no_tls_is_named(make_app: MakeApp) -> None:
    with FaultySmtpServer() as server:
        make_app(SMTP_URL=f"smtps://{server.host}:{server.port}")

        with pytest.raises(ServiceRefusedError, match="TLS cannot be spoken"):
            quorum.send_mail(**HELLO)


def test_a_server_that_closes_while_tls_begins_may_be_tried_again(
    make_app: MakeApp,
) -> None:
    def close(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)  # what is unread would be a reset

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=close, args=[listener])
        thread.start()
        make_app(SMTP_URL=f"smtps://127.0.0.1:{listener.getsockname()[1]}")

        with pytest.raises(ServiceUnavailableError, match="closed while TLS began"):
            quorum.send_mail(**HELLO)
        thread.join()


def test_a_file_that_holds_no_certificates_is_named(
    make_app: MakeApp, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    reasons = {
        "ca.pem": "it holds no certificates",
        "gone.pem": "No such file or directory",
    }
    for name, reason in reasons.items():
        path = str(tmp_path / name)
        make_app(SMTP_URL="smtp://localhost", SMTP_CA_FILE=path)
        with pytest.raises(ConfigError) as info:
            quorum.send_mail(**HELLO)
        assert str(info.value) == (
            f"SMTP_CA_FILE (mail): {path!r} cannot be used: {reason}."
        )
        quorum.unload()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"no\r\n2026 ERROR \x1b[31mfake\xff", "550 no 2026 ERROR [31mfake�"),
        ("Line too long.", "550 Line too long."),
        (b" ", "550"),
        (b"x" * 1000, f"550 {'x' * 496}"),
    ],
    ids=["control characters", "text", "nothing", "long"],
)
def test_an_answer_is_one_short_line_of_the_log(answer: bytes | str, text: str) -> None:
    assert smtp._read_answer(550, answer) == text


def test_a_caller_that_handles_an_error_changes_nothing(make_app: MakeApp) -> None:
    """What the caller handles is the context of what fails here, too."""
    with FaultySmtpServer([None, Fault("idle", "drop")]) as server:
        make_app(SMTP_URL=server.url)
        quorum.send_mail(**HELLO)

        send_while_handling(TimeoutError())

        assert len(server.received) == 2


def send_while_handling(error: Exception) -> None:
    try:
        raise error
    except type(error):
        quorum.send_mail(**HELLO)


def test_the_error_is_not_that_of_the_caller(make_app: MakeApp) -> None:
    with FaultySmtpServer([Fault("connect", "drop")]) as server:
        make_app(SMTP_URL=server.url)

        with pytest.raises(ServiceUnavailableError) as info:
            send_while_handling(FileNotFoundError(2, "No", "/nonexistent"))

        assert "nonexistent" not in str(info.value)


def test_a_mail_that_was_sent_is_sent_though_no_thread_can_start(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(timer: object) -> None:
        raise RuntimeError("can't start new thread")

    with FaultySmtpServer() as server:
        make_app(SMTP_URL=server.url)
        monkeypatch.setattr(threading.Timer, "start", refuse)

        quorum.send_mail(**HELLO)
        quorum.send_mail(**HELLO)

        assert len(server.received) == 2
        # Nobody would close them later.
        assert server.commands.count("QUIT") == server.connections == 2


def test_a_refusal_is_told_though_the_connection_is_lost_after_it(
    make_app: MakeApp,
) -> None:
    with FaultySmtpServer([Fault("rcpt", 550)]) as server:
        make_app(SMTP_URL=server.url)
        original = smtplib.SMTP.rset

        def lose(connection: smtplib.SMTP) -> t.Any:
            connection.close()
            return original(connection)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(smtplib.SMTP, "rset", lose)
            with pytest.raises(ReceiversRefusedError, match="550"):
                quorum.send_mail(**HELLO)
        assert server.received == []


def test_receivers_for_later_that_no_queue_takes_are_reported(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying all of it again would send it twice to those who have it."""
    fault = Fault("rcpt", 451, ["bob@example.org"])
    receivers = ["ann@example.org", "bob@example.org"]
    with FaultySmtpServer([fault]) as server:
        app = make_app(SMTP_URL=server.url, QUEUE_BACKOFF=0.01)
        task = quorum.send_mail_a(**(HELLO | {"receivers": receivers, "app": app}))
        full = ServiceUnavailableError("queue", "", 0, "it is full")

        def refuse(*_: object) -> t.NoReturn:
            raise full

        monkeypatch.setattr(mail, "_deliver_later", refuse)
        with pytest.raises(ReceiversRefusedError, match="refused for bob@"):
            task.result(PATIENCE)

        assert [each.receivers for each in server.received] == [["ann@example.org"]]


def test_only_temporary_refusals_are_tried_again(make_app: MakeApp) -> None:
    fault = Fault("rcpt", 550, ["bob@example.org"])
    receivers = ["ann@example.org", "bob@example.org"]
    with FaultySmtpServer([fault]) as server:
        app = make_app(SMTP_URL=server.url, QUEUE_BACKOFF=0.01)

        task = quorum.send_mail_a(**(HELLO | {"receivers": receivers, "app": app}))
        with pytest.raises(ReceiversRefusedError):
            task.result(PATIENCE)
        quorum.unload()

        assert server.commands.count("MAIL") == 1


def test_mail_in_the_background_is_the_given_apps(make_app: MakeApp) -> None:
    shop = make_app(SMTP_URL="memory:")
    bank = quorum.load(flask.Flask("bank"), SMTP_URL="memory:")

    with bank.app_context():
        task = quorum.send_mail_a(shop, **HELLO)
    task.result(PATIENCE)

    assert (len(outbox(shop)), len(outbox(bank))) == (1, 0)


def test_a_password_is_in_no_repr(make_app: MakeApp) -> None:
    make_app(SMTP_URL="smtp://ann:sesame@localhost")
    settings = get_state().settings(MailSettings)

    assert "sesame" not in f"{settings!r}{settings.server!r}"


@pytest.mark.parametrize("code", [199, 300, 354, 399, 600])
def test_an_answer_that_means_nothing_is_no_refusal(
    make_app: MakeApp, code: int
) -> None:
    with FaultySmtpServer([Fault("final-dot", code)]) as server:
        make_app(SMTP_URL=server.url)

        text = f"its answer means nothing: {code} scripted fault"
        with pytest.raises(MailUncertainError, match=text):
            quorum.send_mail(**HELLO)


@pytest.mark.parametrize("code", [200, 252, 299])
@pytest.mark.parametrize(
    ("stage", "only"), [("rcpt", ["bob@example.org"]), ("final-dot", [])]
)
def test_every_answer_of_the_200s_is_consent(
    make_app: MakeApp,
    stage: t.Literal["rcpt", "final-dot"],
    only: list[str],
    code: int,
) -> None:
    receivers: t.Any = ["ann@example.org", "bob@example.org"]
    with FaultySmtpServer([Fault(stage, code, only)]) as server:
        make_app(SMTP_URL=server.url)

        quorum.send_mail(**(HELLO | {"receivers": receivers}))

        assert server.commands == ["EHLO", "MAIL", "RCPT", "RCPT", "DATA"]


@pytest.mark.parametrize("code", [199, 300])
def test_a_receiver_without_consent_is_refused(make_app: MakeApp, code: int) -> None:
    receivers: t.Any = ["ann@example.org", "bob@example.org"]
    with FaultySmtpServer([Fault("rcpt", code, ["bob@example.org"])]) as server:
        make_app(SMTP_URL=server.url)

        with pytest.raises(ReceiversRefusedError) as info:
            quorum.send_mail(**(HELLO | {"receivers": receivers}))

        assert info.value.refused == {"bob@example.org": f"{code} scripted fault"}

        assert "QUIT" not in server.commands


def test_a_large_mail_goes_in_pieces(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece has the time limit, which the whole of it may need more than once."""
    sizes: list[int] = []
    send = smtplib.SMTP.send

    def note(connection: smtplib.SMTP, s: t.Any) -> None:
        sizes.append(len(s))
        send(connection, s)

    with FaultySmtpServer() as server:
        make_app(SMTP_URL=server.url)
        monkeypatch.setattr(smtplib.SMTP, "send", note)
        attachment = quorum.Attachment("a", bytes(200_000))

        message = quorum.send_mail(**HELLO, attachments=[attachment])

        assert max(sizes) == 65536
        (received,) = server.received
        assert received.data == message.as_bytes()


def test_the_parts_of_a_message_that_fails_to_be_written_are_not_seen(
    make_app: MakeApp, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(SMTP_URL=f"file:{tmp_path}/mail")

    def fail(path: pathlib.Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[:9])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", fail)
    with pytest.raises(ServiceUnavailableError, match="No space left"):
        quorum.send_mail(app=app, **HELLO)

    assert list((tmp_path / "mail").iterdir()) == []
