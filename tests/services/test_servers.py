"""The servers themselves, asked by the clients that everybody uses."""

import contextlib
import os
import shutil
import smtplib
import socket
import ssl
import subprocess
import sys
import time
import typing as t
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path

import boto3
import botocore.config
import pika
import pika.exceptions
import pymongo
import pymongo.errors
import pytest
import redis

from tests.servers import (
    MongoServer,
    PostfixServer,
    RabbitServer,
    RedisServer,
    S3Server,
    Server,
    ServerError,
    SmtpServer,
    SwiftServer,
)

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def open_redis(url: str, **options: t.Any) -> Iterator["redis.Redis"]:
    client = redis.Redis.from_url(url, decode_responses=True, **options)
    with contextlib.closing(client):
        yield client


@contextlib.contextmanager
def open_rabbit(url: str) -> Iterator[t.Any]:
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(url))) as client:
        channel = client.channel()
        channel.confirm_delivery()
        channel.queue_declare("letters", durable=True)
        channel.queue_declare("others", durable=True)  # writes the first: RabbitServer
        yield channel


def open_smtp(server: SmtpServer | PostfixServer) -> smtplib.SMTP:
    mode = server.mode if isinstance(server, SmtpServer) else "starttls"
    if mode == "plain":
        return smtplib.SMTP(server.host, server.port, timeout=10)
    context = ssl.create_default_context(cafile=server.ca_file)
    if mode == "tls":
        return smtplib.SMTP_SSL(server.host, server.port, timeout=10, context=context)
    client = smtplib.SMTP(server.host, server.port, timeout=10)
    client.starttls(context=context)
    return client


@contextlib.contextmanager
def open_s3(server: S3Server | SwiftServer) -> Iterator[t.Any]:
    client = boto3.client(
        "s3",
        endpoint_url=server.url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=server.region,
        config=botocore.config.Config(retries={"max_attempts": 0}),
    )
    with contextlib.closing(client):
        yield client


@contextlib.contextmanager
def open_mongo(url: str) -> Iterator[t.Any]:
    client = pymongo.MongoClient[dict[str, t.Any]](url, serverSelectionTimeoutMS=5000)
    with client:
        yield client.get_default_database()["letters"]


def write_redis(server: RedisServer, text: str) -> None:
    with open_redis(server.url) as client:
        client.rpush("letters", text)


def read_redis(server: RedisServer) -> list[str]:
    with open_redis(server.url) as client:
        return [str(text) for text in t.cast("t.Any", client.lrange("letters", 0, -1))]


def write_rabbit(server: RabbitServer, text: str) -> None:
    with open_rabbit(server.url) as channel:
        durable = pika.BasicProperties(delivery_mode=2)
        channel.basic_publish("", "letters", text.encode(), durable)


def read_rabbit(server: RabbitServer) -> list[str]:
    with open_rabbit(server.url) as channel:
        texts = []
        while (body := channel.basic_get("letters")[2]) is not None:
            texts.append(body.decode())
        return texts


def write_smtp(server: SmtpServer | PostfixServer, text: str) -> None:
    message = EmailMessage()
    message["Subject"] = "Letter"
    message["From"] = "shop@example.org"
    message["To"] = "ann@y.test"
    message.set_content(text)
    with open_smtp(server) as client:
        if isinstance(server, SmtpServer) and server.user and server.password:
            client.login(server.user, server.password)
        client.send_message(message)


def read_smtp(server: SmtpServer | PostfixServer) -> list[str]:
    return [mail.message.get_content().strip() for mail in server.received]


def make_bucket(client: t.Any) -> None:
    with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket="letters")


def write_s3(server: S3Server | SwiftServer, text: str) -> None:
    with open_s3(server) as client:
        make_bucket(client)
        client.put_object(Bucket="letters", Key=text, Body=text.encode())


def read_s3(server: S3Server | SwiftServer) -> list[str]:
    with open_s3(server) as client:
        make_bucket(client)
        listing = client.list_objects_v2(Bucket="letters").get("Contents", [])
        found = [client.get_object(Bucket="letters", Key=e["Key"]) for e in listing]
        return [each["Body"].read().decode() for each in found]


def write_mongo(server: MongoServer, text: str) -> None:
    with open_mongo(server.url) as letters:
        letters.insert_one({"text": text})


def read_mongo(server: MongoServer) -> list[str]:
    with open_mongo(server.url) as letters:
        return [letter["text"] for letter in letters.find()]


class Subject(t.NamedTuple):
    """A server, and how its clients write and read."""

    kind: type[Server]
    make: Callable[[], t.Any]
    write: Callable[[t.Any, str], None]
    read: Callable[[t.Any], list[str]]


SUBJECTS = {
    "redis": Subject(
        RedisServer,
        lambda: RedisServer(password="p@ss w:rd/", appendonly=True),
        write_redis,
        read_redis,
    ),
    "rabbit": Subject(
        RabbitServer,
        lambda: RabbitServer(user="ann", password="p@ss:w/rd"),
        write_rabbit,
        read_rabbit,
    ),
    "smtp": Subject(
        SmtpServer,
        lambda: SmtpServer(user="ann", password="p@ss w:rd/"),
        write_smtp,
        read_smtp,
    ),
    "postfix": Subject(PostfixServer, PostfixServer, write_smtp, read_smtp),
    "s3": Subject(S3Server, S3Server, write_s3, read_s3),
    "swift": Subject(SwiftServer, SwiftServer, write_s3, read_s3),
    "mongo": Subject(
        MongoServer,
        lambda: MongoServer(user="ann", password="p@ss w:rd/"),
        write_mongo,
        read_mongo,
    ),
}


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Subject:
    monkeypatch.delenv("MONGOHQ_TEST_URL", raising=False)
    subject = SUBJECTS[request.param]
    if reason := subject.kind.missing():
        pytest.skip(reason)
    return subject


def find_processes(folder: Path) -> list[str]:
    """Find the processes that run in a folder, or were told of it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            traces = (process / "environ").read_bytes()
            traces += (process / "cmdline").read_bytes()
            traces += os.fsencode((process / "cwd").readlink())
            if os.fsencode(folder) in traces:
                found.append((process / "cmdline").read_text())
    return found


def is_gone(folder: Path, port: int) -> bool:
    # What Erlang started to help the broker ends only when it misses the broker.
    deadline = time.monotonic() + 5
    while find_processes(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    with socket.socket() as client:
        is_closed = client.connect_ex(("127.0.0.1", port)) != 0
    return not find_processes(folder) and not folder.exists() and is_closed


def test_killed_server_comes_back_and_stopped_one_leaves_nothing(
    subject: Subject,
) -> None:
    server = subject.make()
    server.start()
    url, folder, pid = server.url, server.folder, server.pid

    subject.write(server, "first")
    server.kill()
    with pytest.raises(ServerError, match=r"is not running\.$"):
        server.kill()
    server.restart()
    subject.write(server, "second")

    assert (server.url, server.folder) == (url, folder)
    assert server.pid != pid
    remembered = [] if subject.kind is S3Server else ["first"]
    assert subject.read(server) == [*remembered, "second"]

    server.pause()
    server.stop()

    assert is_gone(folder, server.port)
    server.stop()


def test_server_that_is_not_ready_in_time_leaves_nothing(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    spawn = Server._spawn

    def remember(self: Server, command: t.Any) -> t.Any:
        seen.append(self.folder)
        return spawn(self, command)

    monkeypatch.setattr(Server, "_spawn", remember)
    monkeypatch.setattr(subject.kind, "start_timeout", 0.3)
    monkeypatch.setattr(subject.kind, "_answers", lambda self: False)
    server = subject.make()

    with pytest.raises(ServerError, match=r"is not ready after 0\.3 seconds\."):
        server.start()

    assert is_gone(seen[0], server.port)
    with pytest.raises(ServerError, match="not started"):
        _ = server.folder


@pytest.fixture
def redis_kind() -> type[RedisServer]:
    if reason := RedisServer.missing():
        pytest.skip(reason)
    return RedisServer


def test_error_shows_the_log_of_a_server_that_ended(
    redis_kind: type[RedisServer],
) -> None:
    with pytest.raises(ServerError) as raised:
        redis_kind(flags=["--no-such-flag", "1"]).start()

    assert "redis-server ended with status 1." in str(raised.value)
    assert "no-such-flag" in str(raised.value)


def test_running_server_is_not_started_again(redis_kind: type[RedisServer]) -> None:
    with (
        redis_kind() as server,
        pytest.raises(ServerError, match="is running already"),
    ):
        server.start()


def test_stopped_server_starts_anew_on_its_port(redis_kind: type[RedisServer]) -> None:
    server = redis_kind(appendonly=True)
    with server:
        url = server.url
        write_redis(server, "first")

    with server:
        assert server.url == url
        assert read_redis(server) == []


def test_restart_ends_a_running_server_cleanly(redis_kind: type[RedisServer]) -> None:
    with redis_kind(appendonly=True) as server:
        write_redis(server, "first")
        server.restart()

        assert read_redis(server) == ["first"]
        assert "User requested shutdown" in (server.folder / "log").read_text()


def test_paused_server_hangs_until_it_is_resumed(redis_server: RedisServer) -> None:
    with open_redis(redis_server.url, socket_timeout=0.5, retry=None) as client:
        client.ping()
        redis_server.pause()
        try:
            with pytest.raises(redis.TimeoutError):
                client.ping()
        finally:
            redis_server.resume()

        assert client.ping()


def test_redis_listens_on_a_unix_socket(redis_server: RedisServer) -> None:
    with open_redis(redis_server.unix_url) as client:
        assert client.ping()


def test_redis_takes_flags(redis_kind: type[RedisServer]) -> None:
    with redis_kind(flags=["--maxmemory", "5mb"]) as server:  # noqa: SIM117
        with open_redis(server.url) as client:
            settings = t.cast("dict[str, str]", client.config_get("maxmemory"))

    assert settings == {"maxmemory": "5242880"}


def test_interpreter_that_ends_stops_its_servers(
    redis_kind: type[RedisServer],
) -> None:
    program = """
import os
from tests.servers import RedisServer

server = RedisServer()
server.start()
if os.fork() == 0:
    raise SystemExit  # Not the child's to stop.
os.wait()
os.kill(server.pid, 0)
print(server.port, server.folder, flush=True)
raise SystemExit(3)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (3, "")
    port, folder = done.stdout.split()
    assert is_gone(Path(folder), int(port))


def test_redis_refuses_a_wrong_password(redis_server: RedisServer) -> None:
    url = redis_server.url.replace("secret", "wrong")

    with open_redis(url) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_rabbit_refuses_a_wrong_password(rabbit_server: RabbitServer) -> None:
    url = rabbit_server.url.replace("guest@", "wrong@")

    with pytest.raises(pika.exceptions.ProbableAuthenticationError), open_rabbit(url):
        pass


def test_mongo_refuses_a_wrong_password(mongo_server: MongoServer) -> None:
    where = f"{mongo_server.host}:{mongo_server.port}"
    url = f"mongodb://{mongo_server.user}:wrong@{where}/quorum?authSource=admin"

    with open_mongo(url) as letters, pytest.raises(pymongo.errors.OperationFailure):
        letters.find_one()


def test_smtp_refuses_a_wrong_password(smtp_server: SmtpServer) -> None:
    with open_smtp(smtp_server) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError) as raised:
            client.login("quorum", "wrong")

        assert raised.value.smtp_code == 535


def test_smtp_refuses_mail_before_the_password(smtp_server: SmtpServer) -> None:
    with open_smtp(smtp_server) as client:
        client.ehlo()

        assert client.docmd("MAIL", "FROM:<a@example.org>")[0] == 530


def test_smtp_refuses_mail_before_tls(smtp_server: SmtpServer) -> None:
    with smtplib.SMTP(smtp_server.host, smtp_server.port, timeout=10) as client:
        client.ehlo()

        assert not client.has_extn("auth")
        assert client.docmd("MAIL", "FROM:<a@example.org>")[0] == 530


def test_smtp_certificate_is_good_only_with_its_authority(
    smtp_server: SmtpServer,
) -> None:
    with (
        smtplib.SMTP(smtp_server.host, smtp_server.port, timeout=10) as client,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        client.starttls(context=ssl.create_default_context())


@pytest.mark.parametrize("user", [None, "ann"])
@pytest.mark.parametrize("mode", ["plain", "starttls", "tls"])
def test_smtp_keeps_mail_and_envelope(
    mode: t.Literal["plain", "starttls", "tls"], user: str | None
) -> None:
    if reason := SmtpServer.missing():
        pytest.skip(reason)
    server = SmtpServer(mode=mode, user=user, password=user and "secret")

    with server, open_smtp(server) as client:
        if user is not None:
            client.login(user, "secret")
        client.sendmail("a@example.org", ["b@example.org", "c@example.org"], "Hello")
        client.sendmail("a@example.org", ["d@example.org"], b"To: d\r\n\r\n\xff")
        first, second = server.received
        server.clear()
        rest = server.received

    assert first == ("a@example.org", ["b@example.org", "c@example.org"], b"Hello\r\n")
    assert second.data == b"To: d\r\n\r\n\xff\r\n"
    assert second.message["To"] == "d"
    assert rest == []


@pytest.mark.parametrize(
    ("certificate", "problem"),
    [
        ("expired", "certificate has expired"),
        ("other_host", "not valid for '127.0.0.1'"),
        ("self_signed", "self-signed certificate|self signed certificate"),
    ],
)
@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_smtp_has_the_certificate_that_is_asked_for(
    mode: t.Literal["starttls", "tls"],
    certificate: t.Literal["expired", "other_host", "self_signed"],
    problem: str,
) -> None:
    if reason := SmtpServer.missing():
        pytest.skip(reason)

    with (
        SmtpServer(mode=mode, certificate=certificate) as server,
        pytest.raises(ssl.SSLCertVerificationError, match=problem),
    ):
        open_smtp(server)


def test_smtp_has_the_limits_that_are_asked_for() -> None:
    if reason := SmtpServer.missing():
        pytest.skip(reason)
    server = SmtpServer(mode="plain", size_limit=1000, smtputf8=False)

    with server, open_smtp(server) as client:
        with pytest.raises(smtplib.SMTPSenderRefused) as raised:
            client.sendmail("a@example.org", ["b@example.org"], "x" * 1001)

        assert raised.value.smtp_code == 552
        assert client.esmtp_features["size"] == "1000"
        assert not client.has_extn("smtputf8")


@pytest.mark.parametrize("mode", ["plain", "starttls", "tls"])
def test_smtp_counts_connections_and_commands(
    mode: t.Literal["plain", "starttls", "tls"],
) -> None:
    if reason := SmtpServer.missing():
        pytest.skip(reason)

    with SmtpServer(mode=mode) as server:
        first = (server.connections, server.commands)
        with open_smtp(server) as client, open_smtp(server) as other:
            client.ehlo()
            other.ehlo()
            both = server.connections
            server.clear()
            client.sendmail("a@example.org", ["b@example.org"], "Hello")
            last = (server.connections, server.commands)

    assert first == (0, [])
    assert both == 2
    assert last == (0, [["MAIL", "RCPT", "DATA"]])


def test_postfix_delivers_what_was_sent_to_each_receiver(
    postfix_server: PostfixServer,
) -> None:
    sent = "From: a@example.org\r\n\r\n.dot\r\né\r\n".encode()
    receivers = ["Ann.Lee@y.test", "b@y.test", "c@example.org"]
    postfix_server.clear()

    with open_smtp(postfix_server) as client:
        refused = client.sendmail("a@example.org", receivers, sent)
        delivered = sorted(postfix_server.received)
        postfix_server.clear()
        rest = postfix_server.received

    assert {receiver: code for receiver, (code, _) in refused.items()} == {
        "c@example.org": 554
    }
    assert delivered == [
        ("a@example.org", ["Ann.Lee@y.test"], sent),
        ("a@example.org", ["b@y.test"], sent),
    ]
    assert rest == []


def test_postfix_takes_addresses_that_are_not_ascii(
    postfix_server: PostfixServer,
) -> None:
    postfix_server.clear()
    with open_smtp(postfix_server) as client:
        client.ehlo()
        options = ["SMTPUTF8", "BODY=8BITMIME"]
        client.sendmail("é@example.org", ["ü@y.test"], "To: b\r\n\r\n", options)
        delivered = postfix_server.received
        postfix_server.clear()

    assert delivered == [("é@example.org", ["ü@y.test"], b"To: b\r\n\r\n")]


def test_postfix_refuses_mail_over_its_limit() -> None:
    if reason := PostfixServer.missing():
        pytest.skip(reason)

    with PostfixServer(size_limit=5000) as server, open_smtp(server) as client:
        with pytest.raises(smtplib.SMTPSenderRefused) as raised:
            client.sendmail("a@example.org", ["b@y.test"], "x" * 5001)

        assert raised.value.smtp_code == 552
        assert client.esmtp_features["size"] == "5000"


def test_given_mongo_is_used_but_not_disturbed(
    mongo_server: MongoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGOHQ_TEST_URL", mongo_server.url)
    monkeypatch.setenv("PATH", "")

    with MongoServer() as server:
        assert MongoServer.missing() is None
        assert server.kind == "given"
        assert server.url == mongo_server.url
        assert (server.host, server.port) == (mongo_server.host, mongo_server.port)
        assert server.password == mongo_server.password
        for disturb in (server.kill, server.restart, server.pause, server.resume):
            with pytest.raises(ServerError, match="not ours"):
                disturb()

    with open_mongo(mongo_server.url) as letters:
        assert letters.database.command("ping")["ok"] == 1


def test_absent_servers_say_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("QUORUM_TEST_CACHE", str(tmp_path))
    monkeypatch.delenv("MONGOHQ_TEST_URL", raising=False)
    monkeypatch.setattr(RabbitServer, "_find_program", lambda: None)
    monkeypatch.setattr(PostfixServer, "programs", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    reasons = [subject.kind.missing() for subject in SUBJECTS.values()]

    assert reasons == [
        "redis-server is not installed: apt-get install redis-server",
        "rabbitmq-server is not installed: apt-get install rabbitmq-server",
        "aiosmtpd is not installed: pip install 'quorum-flask[test]'",
        "postfix is not installed: apt-get install postfix",
        "moto is not installed: pip install 'quorum-flask[test]'",
        "swift is not installed: run tests/install_servers",
        "neither mongod nor ferretdb is installed: run tests/install_servers",
    ]
    with pytest.raises(ServerError, match=r"apt-get install redis-server\.$"):
        RedisServer().start()


SKIPPING_TESTS = """
import pytest

def test_absent(redis_server):
    pass

def test_skipped():
    pytest.skip("Not today")

@pytest.mark.skip
def test_marked():
    pass

@pytest.mark.xfail
def test_expected_failure():
    assert False
"""

SKIPPED_MODULE = """
import pytest

pytest.importorskip("no_such_module")
"""


@pytest.mark.parametrize(
    ("ci", "outcomes"),
    [
        ("", "4 skipped, 1 xfailed in"),
        ("true", "1 failed, 1 xfailed, 3 errors in"),
    ],
)
def test_skips_fail_in_ci_only(tmp_path: Path, ci: str, outcomes: str) -> None:
    services = tmp_path / "tests" / "services"
    services.mkdir(parents=True)
    for file in (ROOT / "tests").glob("servers*.py"):
        shutil.copy(file, services.parent)
    (services.parent / "__init__.py").touch()
    for name in ("__init__", "conftest"):
        shutil.copy(ROOT / f"tests/services/{name}.py", services)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts=--import-mode=importlib\n")
    (services / "test_skipping.py").write_text(SKIPPING_TESTS)
    (services / "test_absent.py").write_text(SKIPPED_MODULE)

    done = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider"),
            *("--continue-on-collection-errors", "tests/services"),
        ],
        cwd=tmp_path,
        env=os.environ | {"CI": ci, "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert outcomes in done.stdout
    assert done.returncode == (1 if ci else 0)
    assert ("CI is set, so nothing may be skipped here" in done.stdout) == bool(ci)
