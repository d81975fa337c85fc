"""Mail by real servers: encrypted, logged in, delivered, and what can go wrong."""

import json
import os
import pathlib
import re
import ssl
import textwrap
import time
import typing as t
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

import quorum
from quorum.cli import group
from quorum.errors import (
    MailUncertainError,
    ReceiversRefusedError,
    ServiceRefusedError,
    ServiceUnavailableError,
)
from tests.conftest import MakeApp
from tests.processes import (
    PATIENCE,
    clean_environment,
    free_port,
    get,
    running,
)
from tests.servers import PostfixServer, SmtpServer
from tests.servers_certificates import Certificate
from tests.services.conftest import run

TEXT: t.Final[dict[str, t.Any]] = {
    "subject": "Grüße",
    "data": "Auf dem Weg.\n.\nÜbermorgen.",
}

ROOT: t.Final = pathlib.Path(__file__).parents[2]

Mode: t.TypeAlias = t.Literal["plain", "starttls", "tls"]


@pytest.fixture(scope="module", params=["plain", "starttls", "tls"])
def relay(request: pytest.FixtureRequest) -> Iterator[SmtpServer]:
    """A server of each kind of encryption that wants a password."""
    yield from run(
        SmtpServer, mode=request.param, user="ann@example.org", password="p@ss/:% word"
    )


def find_trust(server: SmtpServer | PostfixServer) -> dict[str, object]:
    if isinstance(server, SmtpServer) and server.mode == "plain":
        return {"SMTP_INSECURE_AUTH": True}
    return {"SMTP_CA_FILE": str(server.ca_file)}


def load(
    make_app: MakeApp, server: SmtpServer | PostfixServer, **variables: object
) -> None:
    server.clear()
    defaults = {"SMTP_URL": server.url, "SMTP_SENDER": "Shop <shop@y.test>"}
    make_app(**(defaults | find_trust(server) | variables))


def test_mail_arrives_over_each_kind_of_connection(
    make_app: MakeApp, relay: SmtpServer
) -> None:
    load(make_app, relay)

    sent = quorum.send_mail(
        receivers="Zoë <zoe@y.test>",
        bcc="eve@y.test",
        attachments=[quorum.Attachment("Übersicht.csv", "a,b")],
        **TEXT,
    )

    (mail,) = relay.received
    assert mail.sender == "shop@y.test"
    assert mail.receivers == ["zoe@y.test", "eve@y.test"]
    assert mail.message["Message-ID"] == sent["Message-ID"]
    assert mail.message["Subject"] == "Grüße"
    assert mail.message["To"].addresses[0].display_name == "Zoë"
    plain = mail.message.get_body(("plain",))
    assert plain is not None
    assert plain.get_content().splitlines() == ["Auf dem Weg.", ".", "Übermorgen."]
    (attached,) = mail.message.iter_attachments()
    assert attached.get_filename() == "Übersicht.csv"
    assert b"eve" not in mail.data


def test_a_message_costs_four_round_trips_and_no_connection(
    make_app: MakeApp, relay: SmtpServer
) -> None:
    load(make_app, relay)
    quorum.send_mail(receivers="ann@y.test", **TEXT)
    relay.clear()

    for _ in range(5):
        quorum.send_mail(receivers="ann@y.test", **TEXT)

    assert relay.connections == 0
    # The fourth is the final dot.
    assert relay.commands == [["MAIL", "RCPT", "DATA"] * 5]


def test_host_user_and_password_are_as_good_as_a_url(
    make_app: MakeApp, smtp_server: SmtpServer
) -> None:
    smtp_server.clear()
    make_app(
        SMTP_HOST=f"{smtp_server.host}:{smtp_server.port}",
        SMTP_USER=smtp_server.user,
        SMTP_PASSWORD=smtp_server.password,
        SMTP_CA_FILE=str(smtp_server.ca_file),
    )

    quorum.send_mail(sender="shop@y.test", receivers="ann@y.test", **TEXT)

    assert len(smtp_server.received) == 1


def test_a_wrong_password_is_refused_and_not_shown(
    make_app: MakeApp, relay: SmtpServer
) -> None:
    url = f"{relay.url.partition('://')[0]}://ann:wrong-sesame@127.0.0.1:{relay.port}"
    load(make_app, relay, SMTP_URL=url)

    with pytest.raises(ServiceRefusedError, match="user and the password: 535") as info:
        quorum.send_mail(receivers="ann@y.test", **TEXT)

    assert "sesame" not in str(info.value)
    assert relay.received == []


def test_a_password_is_not_sent_unencrypted(make_app: MakeApp) -> None:
    for server in run(SmtpServer, mode="plain", user="ann", password="sesame"):
        load(make_app, server, SMTP_INSECURE_AUTH=False)

        with pytest.raises(ServiceRefusedError, match="password was not sent"):
            quorum.send_mail(receivers="ann@y.test", **TEXT)

        assert not any("AUTH" in verbs for verbs in server.commands)


def test_starttls_can_be_turned_off(make_app: MakeApp, smtp_server: SmtpServer) -> None:
    url = f"smtp://{smtp_server.host}:{smtp_server.port}"
    load(make_app, smtp_server, SMTP_URL=url, SMTP_STARTTLS=False)

    with pytest.raises(ServiceRefusedError, match="530"):
        quorum.send_mail(receivers="ann@y.test", **TEXT)

    assert not any("STARTTLS" in verbs for verbs in smtp_server.commands)


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        ("expired", "certificate has expired"),
        ("other_host", "IP address mismatch|Hostname mismatch"),
        ("self_signed", "self.signed certificate"),
    ],
)
@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_a_certificate_that_proves_nothing_is_refused(
    make_app: MakeApp, certificate: Certificate, reason: str, mode: Mode
) -> None:
    options: dict[str, t.Any] = {"mode": mode, "user": "ann", "password": "sesame"}
    for server in run(SmtpServer, certificate=certificate, **options):
        load(make_app, server)

        with pytest.raises(ServiceRefusedError, match=reason) as info:
            quorum.send_mail(receivers="ann@y.test", **TEXT)

        assert (info.value.host, info.value.port) == (server.host, server.port)
        assert not any("AUTH" in verbs for verbs in server.commands)
        assert server.received == []


def test_that_check_is_what_keeps_the_password_safe(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that does not look, as ``starttls()`` alone, tells it to anybody."""
    monkeypatch.setattr(
        "quorum.engines.smtp._make_context",
        lambda ca_file: ssl._create_unverified_context(),
    )
    options: dict[str, t.Any] = {
        "mode": "starttls",
        "user": "ann",
        "password": "sesame",
    }
    for server in run(SmtpServer, certificate="self_signed", **options):
        load(make_app, server)

        quorum.send_mail(receivers="ann@y.test", **TEXT)

        assert any("AUTH" in verbs for verbs in server.commands)


def test_an_authority_that_nobody_named_is_refused(
    make_app: MakeApp, smtp_server: SmtpServer
) -> None:
    load(make_app, smtp_server, SMTP_CA_FILE=None)

    with pytest.raises(ServiceRefusedError, match="certificate is not valid"):
        quorum.send_mail(receivers="ann@y.test", **TEXT)


def test_a_server_that_restarts_between_two_messages_gets_both(
    make_app: MakeApp,
) -> None:
    for server in run(SmtpServer, mode="starttls", user="ann", password="sesame"):
        load(make_app, server)
        quorum.send_mail(receivers="ann@y.test", **TEXT)
        server.restart()

        quorum.send_mail(receivers="bob@y.test", **TEXT)

        assert [mail.receivers for mail in server.received] == [
            ["ann@y.test"],
            ["bob@y.test"],
        ]


def test_a_server_that_hangs_is_given_up(make_app: MakeApp) -> None:
    for server in run(SmtpServer, mode="starttls"):
        load(make_app, server, SMTP_TIMEOUT=0.5)
        quorum.send_mail(receivers="ann@y.test", **TEXT)
        server.pause()

        with pytest.raises(ServiceUnavailableError, match="did not answer in time"):
            quorum.send_mail(receivers="ann@y.test", **TEXT)

        server.resume()
        quorum.send_mail(receivers="ann@y.test", **TEXT)
        assert len(server.received) == 2


def test_a_child_process_makes_a_connection_of_its_own(
    make_app: MakeApp, smtp_server: SmtpServer
) -> None:
    load(make_app, smtp_server)
    quorum.send_mail(receivers="ann@y.test", **TEXT)

    child = os.fork()
    if child == 0:
        try:
            quorum.send_mail(receivers="bob@y.test", **TEXT)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    quorum.send_mail(receivers="eve@y.test", **TEXT)

    assert os.waitstatus_to_exitcode(status) == 0
    assert smtp_server.connections == 2
    assert len(smtp_server.received) == 3


def test_postfix_delivers_to_the_mailbox(
    make_app: MakeApp, postfix_server: PostfixServer
) -> None:
    load(make_app, postfix_server)

    sent = quorum.send_mail(
        receivers=["ann@y.test", "zoë@y.test"], cc="bob@y.test", **TEXT
    )

    received = postfix_server.received
    assert sorted(mail.receivers[0] for mail in received) == [
        "ann@y.test",
        "bob@y.test",
        "zoë@y.test",
    ]
    assert {mail.message["Message-ID"] for mail in received} == {sent["Message-ID"]}
    plain = received[0].message.get_body(("plain",))
    assert plain is not None
    assert plain.get_content().splitlines() == ["Auf dem Weg.", ".", "Übermorgen."]


def test_postfix_refuses_some_receivers_and_serves_the_others(
    make_app: MakeApp, postfix_server: PostfixServer
) -> None:
    load(make_app, postfix_server)

    with pytest.raises(ReceiversRefusedError, match="the other 1 have it") as info:
        quorum.send_mail(receivers=["ann@y.test", "bob@elsewhere.test"], **TEXT)

    assert list(info.value.refused) == ["bob@elsewhere.test"]
    assert "Relay access denied" in info.value.refused["bob@elsewhere.test"]
    assert [mail.receivers for mail in postfix_server.received] == [["ann@y.test"]]


def test_no_mail_is_lost_or_doubled_when_the_server_is_killed(
    make_app: MakeApp,
) -> None:
    for server in run(SmtpServer, mode="starttls"):
        load(make_app, server, QUEUE_BACKOFF=0.1)
        tasks = {}
        for number in range(150):
            receiver = f"n{number}@y.test"
            tasks[receiver] = quorum.send_mail_a(receivers=receiver, **TEXT)
            if number == 75:
                wait_for_some(server)
                server.kill()
                server.start()

        uncertain = []
        for receiver, task in tasks.items():
            try:
                task.result(PATIENCE)
            except MailUncertainError:
                uncertain.append(receiver)

        delivered = [mail.receivers[0] for mail in server.received]
        print(f"150 mails, {len(delivered)} delivered, {len(uncertain)} uncertain")
        assert len(delivered) == len(set(delivered))
        assert {*tasks} - {*delivered} <= {*uncertain}
        assert len(uncertain) <= 4  # one for each thread that was sending


def wait_for_some(server: SmtpServer) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(server.received) < 10:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_command_sends_a_test_message(
    make_app: MakeApp, postfix_server: PostfixServer
) -> None:
    load(make_app, postfix_server)
    assert quorum.APP is not None

    result = quorum.APP.test_cli_runner().invoke(
        group, ["mail", "--to", "ann@y.test", "--json"]
    )

    assert result.exit_code == 0, result.output
    (mail,) = postfix_server.received
    assert json.loads(result.output)["message_id"] == mail.message["Message-ID"]


def test_the_examples_of_the_manual_run_on_a_real_server(
    make_app: MakeApp, smtp_server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "doc" / "source" / "howto" / "mail.rst").read_text()
    blocks = re.findall(
        r"^\.\. testcode:: mail\n\n((?:   .*\n|\n)+)", page, re.MULTILINE
    )
    program = textwrap.dedent("\n".join(blocks))
    assert program.count("send_mail") >= 4
    smtp_server.clear()
    monkeypatch.setenv("SMTP_CA_FILE", str(smtp_server.ca_file))

    names: dict[str, t.Any] = {"quorum": quorum, "__name__": "__main__"}
    exec(program.replace("memory:", smtp_server.url), names)
    names["task"].result(30)

    assert len(smtp_server.received) == program.count("quorum.send_mail")


def test_the_example_app_runs_on_a_real_server(
    postfix_server: PostfixServer, tmp_path: pathlib.Path
) -> None:
    port = free_port()
    postfix_server.clear()
    env = clean_environment(
        PORT=str(port),
        SMTP_URL=postfix_server.url,
        SMTP_CA_FILE=str(postfix_server.ca_file),
    )
    form = b"address=ann@y.test&item=tea"

    with running("orders.py", cwd=ROOT / "examples" / "orders", env=env) as process:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(f"http://127.0.0.1:{port}/", process)
        urllib.request.urlopen(f"http://127.0.0.1:{port}/orders", data=form).close()
        process.terminate()
        process.wait(PATIENCE)

    (mail,) = postfix_server.received
    assert mail.message["Subject"] == "Your order"
