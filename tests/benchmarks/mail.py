"""What ``send_mail()`` costs beside smtplib alone, and beside Flask-Mailman."""

import contextlib
import functools
import importlib
import importlib.util
import math
import secrets
import smtplib
import ssl
import sys
import time
import typing as t
from collections.abc import Callable, Iterator
from email.utils import formatdate

import flask
import jinja2

import quorum
from tests.benchmarks.measuring import Effort, Row, benchmark, compare, loaded, timed
from tests.servers import SmtpServer

Send: t.TypeAlias = Callable[[], object]

_SENDER: t.Final = "Shop <shop@example.org>"
_RECEIVER: t.Final = "Ann Example <ann@example.org>"
_SUBJECT: t.Final = "Your order 4711 is on its way"
_CONTEXT: t.Final = {"name": "Ann", "order": "4711", "day": "Friday"}

# For str.format(); Jinja gets them with their braces doubled.
_TEXT: t.Final = """\
Dear {name},

your order {order} has left our house, and should be with you by {day}.
If nobody is at home, the neighbours will be asked to take it.

What you have ordered:

  2 x Tea, black, 250 g
  1 x Pot, blue, 1.2 l

With kind regards
The shop
"""
_RICH: t.Final = """\
<!doctype html>
<html lang="en"><body>
<p>Dear {name},</p>
<p>your order <b>{order}</b> has left our house, and should be with you by {day}.
If nobody is at home, the neighbours will be asked to take it.</p>
<ul><li>2 x Tea, black, 250 g</li><li>1 x Pot, blue, 1.2 l</li></ul>
<p>With kind regards<br>The shop</p>
</body></html>
"""

_HEADERS: t.Final = f"""\
From: {_SENDER}
To: {_RECEIVER}
Subject: {_SUBJECT}
Date: {{date}}
Message-ID: <{{token}}@example.org>
MIME-Version: 1.0
"""
_PART: t.Final = """\
Content-Type: text/{}; charset="utf-8"
Content-Transfer-Encoding: 7bit

{}"""
_PLAIN_MAIL: t.Final = _HEADERS + _PART.format("plain", _TEXT)
_BOTH_MAIL: t.Final = f"""\
{_HEADERS}Content-Type: multipart/alternative; boundary="=_{{token}}"

--=_{{token}}
{_PART.format("plain", _TEXT)}
--=_{{token}}
{_PART.format("html", _RICH)}
--=_{{token}}--
"""


@benchmark("mail")
def measure_mail(effort: Effort) -> Iterator[Row]:
    """Compare on a server with STARTTLS and a login, and on one without."""
    for server in (
        SmtpServer(mode="starttls", user="quorum", password="secret"),
        SmtpServer(mode="plain"),
    ):
        with serving(server) as app:
            yield from _count(server)
            for rich in (False, True):
                yield from _compare(app, server, rich, effort)


@contextlib.contextmanager
def serving(server: SmtpServer) -> Iterator[flask.Flask]:
    """Run a server, and enter the context of an app that sends mail by it."""
    app = flask.Flask(__name__)
    app.jinja_env.loader = jinja2.DictLoader(
        {
            name: text.replace("{", "{{").replace("}", "}}")
            for name, text in (("mail.txt", _TEXT), ("mail.html", _RICH))
        }
    )
    with server:
        variables = {"SMTP_URL": server.url, "SMTP_SENDER": _SENDER}
        if server.mode != "plain":
            variables["SMTP_CA_FILE"] = str(server.ca_file)
        with loaded(app, **variables), app.app_context():
            yield app


def _count(server: SmtpServer, mails: int = 10) -> Iterator[Row]:
    """Count what the server sees of mails after the first."""
    send_ours(rich=False)
    server.clear()
    for _ in range(mails):
        send_ours(rich=False)
    verbs = [verb for connection in server.commands for verb in connection]
    made = math.ceil(server.connections / mails)
    yield Row(f"new connections a mail, {server.mode}", made, "<= 0")
    # The end of what follows DATA is answered too.
    trips = math.ceil((len(verbs) + verbs.count("DATA")) / mails)
    yield Row(f"round trips a mail, {server.mode}", trips, "<= 4")


def _compare(
    app: flask.Flask, server: SmtpServer, rich: bool, effort: Effort
) -> Iterator[Row]:
    """Compare ways to send one mail; the limit is smtplib on one connection."""
    where = f"{server.mode}, {'text and HTML' if rich else 'text'}"
    ours = functools.partial(send_ours, rich)

    def compare_both(
        name: str, subject: Send, limit: Send, goals: tuple[str, str]
    ) -> Iterator[Row]:
        clock = time.perf_counter
        chunks = timed(subject, clock=clock), timed(limit, clock=clock)
        rate = compare(*chunks, effort, rates=True)
        yield Row(f"{name}, rate, {where}", rate, goals[0])
        spent = compare(timed(subject), timed(limit), effort)
        yield Row(f"{name}, client CPU, {where}", spent, goals[1])

    with open_raw(server, rich) as raw, _open_mailman(app, server, rich) as peers:
        yield from compare_both("send_mail()", ours, raw, (">= 0.50", "<= 4.9"))
        for name, peer in peers.items():
            yield from compare_both(name, peer, raw, ("", ""))
            beside = f"send_mail() / {name}"
            yield from compare_both(beside, ours, peer, (">= 1", "<= 1"))


def send_ours(rich: bool) -> None:
    """Send the mail by quorum."""
    quorum.send_mail(
        subject=_SUBJECT,
        receivers=_RECEIVER,
        plain="mail.txt",
        rich="mail.html" if rich else None,
        context=_CONTEXT,
    )


@contextlib.contextmanager
def open_raw(server: SmtpServer, rich: bool) -> Iterator[Send]:
    """Connect, and give what sends the mail by smtplib alone."""
    mail = _BOTH_MAIL if rich else _PLAIN_MAIL
    with smtplib.SMTP(server.host, server.port, timeout=10) as connection:
        if server.mode == "starttls":
            context = ssl.create_default_context(cafile=server.ca_file)
            connection.starttls(context=context)
            connection.login(server.user or "", server.password or "")

        def send() -> None:
            token, date = secrets.token_hex(16), formatdate()
            text = mail.format(token=token, date=date, **_CONTEXT)
            content = text.replace("\n", "\r\n").encode()
            connection.sendmail("shop@example.org", "ann@example.org", content)

        yield send


@contextlib.contextmanager
def _open_mailman(
    app: flask.Flask, server: SmtpServer, rich: bool
) -> Iterator[dict[str, Send]]:
    """Give what sends the mail by Flask-Mailman, if that is installed."""
    if importlib.util.find_spec("flask_mailman") is None:
        sys.stderr.write("mail: flask-mailman is not installed, so it is left out.\n")
        yield {}
        return
    flask_mailman = importlib.import_module("flask_mailman")
    app.config.update(
        MAIL_SERVER=server.host,
        MAIL_PORT=server.port,
        MAIL_USE_TLS=server.mode == "starttls",
        MAIL_USERNAME=server.user,
        MAIL_PASSWORD=server.password,
        MAIL_DEFAULT_SENDER=_SENDER,
        MAIL_TIMEOUT=10,
    )
    connection = flask_mailman.Mail(app).get_connection()

    def make() -> t.Any:
        text = flask.render_template("mail.txt", **_CONTEXT)
        mail = flask_mailman.EmailMultiAlternatives(_SUBJECT, text, to=[_RECEIVER])
        if rich:
            html = flask.render_template("mail.html", **_CONTEXT)
            mail.attach_alternative(html, "text/html")
        return mail

    connection.open()
    try:
        yield {
            "Flask-Mailman one by one": lambda: make().send(),
            "Flask-Mailman in bulk": lambda: connection.send_messages([make()]),
        }
    finally:
        connection.close()
