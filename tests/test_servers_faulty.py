"""The mail server that fails as it is told, asked by smtplib."""

import smtplib
import threading

import pytest

from tests.servers_faulty import Fault, FaultySmtpServer, Stage

SENDER = "a@example.org"
LOST = (smtplib.SMTPServerDisconnected, ConnectionError)


def connect(server: FaultySmtpServer, timeout: float = 10) -> smtplib.SMTP:
    return smtplib.SMTP(server.host, server.port, "localhost", timeout=timeout)


def send(
    server: FaultySmtpServer, text: str = "Hello", timeout: float = 10
) -> dict[str, tuple[int, bytes]]:
    with connect(server, timeout) as client:
        return client.sendmail(SENDER, ["b@example.org", "c@example.org"], text)


def test_without_faults_mail_is_received_as_sent() -> None:
    with FaultySmtpServer(extensions=["SMTPUTF8"]) as server:
        with connect(server) as client:
            client.ehlo()
            features = client.esmtp_features
            client.sendmail(SENDER, ["b@example.org"], "To: b\r\n\r\n..dots\r\n.\r\n")
            client.sendmail("é@example.org", ["c@example.org"], "", ["SMTPUTF8"])
        received = server.received

    assert features == {"smtputf8": ""}
    assert received == [
        (SENDER, ["b@example.org"], b"To: b\r\n\r\n..dots\r\n.\r\n"),
        ("é@example.org", ["c@example.org"], b"\r\n"),
    ]
    assert received[0].message["To"] == "b"
    assert server.connections == 1
    verbs = ["MAIL", "RCPT", "DATA"]
    assert server.commands == ["EHLO", *verbs, *verbs, "QUIT"]


@pytest.mark.parametrize("stage", ["connect", "ehlo", "mail", "rcpt", "data", "body"])
def test_dropped_mail_is_not_received_and_the_next_is(stage: Stage) -> None:
    with FaultySmtpServer([Fault(stage, "drop")]) as server:
        with pytest.raises(LOST):
            send(server)
        send(server)

        assert [mail.data for mail in server.received] == [b"Hello\r\n"]
        assert server.connections == 2


def test_large_mail_is_dropped_before_its_end_was_sent() -> None:
    text = "To be continued.\r\n" * 500_000

    with FaultySmtpServer([Fault("body", "drop")]) as server, connect(server) as client:
        client.ehlo()
        client.mail(SENDER)
        client.rcpt("b@example.org")
        client.putcmd("data")
        client.getreply()
        with pytest.raises(LOST):
            client.send(text)

    assert server.received == []


@pytest.mark.parametrize("stage", ["connect", "ehlo", "data", "body"])
def test_silent_server_answers_nothing_at_that_stage(stage: Stage) -> None:
    with FaultySmtpServer([Fault(stage, "silent")]) as server:
        with pytest.raises((TimeoutError, smtplib.SMTPServerDisconnected), match="tim"):
            send(server, timeout=0.3)

        assert server.received == []


@pytest.mark.parametrize("action", ["silent", "drop"])
def test_mail_whose_answer_is_lost_was_received(action: str) -> None:
    fault = Fault("final-dot", "drop" if action == "drop" else "silent")

    with FaultySmtpServer([fault]) as server:
        with pytest.raises((TimeoutError, *LOST)):
            send(server, timeout=0.5)

        assert len(server.received) == 1


@pytest.mark.parametrize("code", [421, 451, 550])
@pytest.mark.parametrize(
    ("stage", "error"),
    [
        ("connect", smtplib.SMTPConnectError),
        ("mail", smtplib.SMTPSenderRefused),
        ("data", smtplib.SMTPDataError),
        ("final-dot", smtplib.SMTPDataError),
    ],
)
def test_code_is_the_answer_to_one_mail(
    stage: Stage, error: type[smtplib.SMTPResponseException], code: int
) -> None:
    with FaultySmtpServer([None, Fault(stage, code)]) as server:
        send(server, "first")
        with pytest.raises(error) as raised:
            send(server, "second")
        send(server, "third")

    assert raised.value.smtp_code == code
    assert [mail.data for mail in server.received] == [b"first\r\n", b"third\r\n"]


def test_chosen_receivers_are_refused_in_one_mail() -> None:
    with FaultySmtpServer([Fault("rcpt", 550, ["b@example.org"]), None]) as server:
        refused = send(server)
        again = send(server)

    assert refused == {"b@example.org": (550, b"scripted fault")}
    assert again == {}
    receivers = [mail.receivers for mail in server.received]
    assert receivers == [["c@example.org"], ["b@example.org", "c@example.org"]]


def test_all_receivers_are_refused_in_one_mail() -> None:
    with FaultySmtpServer([Fault("rcpt", 451)]) as server:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as raised:
            send(server)
        send(server)

    codes = [code for code, _ in raised.value.recipients.values()]
    assert codes == [451, 451]
    assert len(server.received) == 1


def test_idle_connection_is_dropped_between_two_mails() -> None:
    with FaultySmtpServer([None, Fault("idle", "drop"), None]) as server:
        with connect(server) as client:
            client.sendmail(SENDER, ["b@example.org"], "first")
            with pytest.raises(LOST):
                client.sendmail(SENDER, ["b@example.org"], "second")
        send(server, "third")

    assert [mail.data for mail in server.received] == [b"first\r\n", b"third\r\n"]
    assert server.connections == 2


def test_server_that_ends_leaves_no_thread() -> None:
    before = threading.active_count()

    with FaultySmtpServer([None, Fault("connect", "silent")]) as server:
        idle = connect(server)
        send(server)
        with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
            connect(server, timeout=0.1)

    assert threading.active_count() == before
    idle.close()
