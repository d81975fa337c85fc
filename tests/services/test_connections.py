"""What every service promises of its connection, on the real server of each."""

import json
import os
import pathlib
import threading
import time
import typing as t
from collections.abc import Callable
from urllib.parse import quote

import boto3
import pytest

import quorum
from quorum import amazon, amqp, mail, mongodb, redisdb
from quorum.cli import group
from quorum.loading import SERVICES
from quorum.service import Service
from quorum.state import get_handle
from tests.conftest import MakeApp
from tests.processes import free_port
from tests.servers import (
    MongoServer,
    RabbitServer,
    RedisServer,
    S3Server,
    Server,
    SmtpServer,
)


class Case(t.NamedTuple):
    """A service, its server, and the variables that lead to it."""

    service: Service[t.Any, t.Any]
    server: Server
    variables: dict[str, t.Any]
    wrong_password: dict[str, t.Any]
    elsewhere: Callable[[int], dict[str, t.Any]]


def _redis(server: RedisServer) -> Case:
    return Case(
        redisdb.SERVICE,
        server,
        {"REDISTOGO_URL": server.url, "REDIS_TIMEOUT": 1},
        {
            "REDISTOGO_URL": f"redis://:wrong-sesame@{server.host}:{server.port}?protocol=2"
        },
        lambda port: {"REDISTOGO_URL": f"redis://:sesame@127.0.0.1:{port}"},
    )


def _mongodb(server: MongoServer) -> Case:
    place = f"{server.host}:{server.port}/shop?authSource=admin"
    return Case(
        mongodb.SERVICE,
        server,
        {"MONGOHQ_URL": server.url, "MONGODB_TIMEOUT": 1},
        {"MONGOHQ_URL": f"mongodb://{quote(server.user)}:wrong-sesame@{place}"},
        # PyMongo looks for a server as long as it may.
        lambda port: {
            "MONGOHQ_URL": f"mongodb://ann:sesame@127.0.0.1:{port}/shop",
            "MONGODB_TIMEOUT": 1,
        },
    )


def _amqp(server: RabbitServer) -> Case:
    place = f"{server.host}:{server.port}/%2F"
    return Case(
        amqp.SERVICE,
        server,
        {"CLOUDAMQP_URL": server.url, "AMQP_TIMEOUT": 1},
        {"CLOUDAMQP_URL": f"amqp://guest:wrong-sesame@{place}"},
        lambda port: {"CLOUDAMQP_URL": f"amqp://guest:sesame@127.0.0.1:{port}"},
    )


def _mail(server: SmtpServer) -> Case:
    place = {"SMTP_HOST": f"localhost:{server.port}", "SMTP_TIMEOUT": 1}
    return Case(
        mail.SERVICE,
        server,
        {**place, "SMTP_USER": server.user, "SMTP_PASSWORD": server.password},
        {**place, "SMTP_USER": server.user, "SMTP_PASSWORD": "wrong-sesame"},
        lambda port: {"SMTP_HOST": f"127.0.0.1:{port}", "SMTP_PASSWORD": "sesame"},
    )


def _amazon(server: S3Server) -> Case:
    keys = {"AMAZON_ID": server.access_key, "AMAZON_SECRET": "sesame-open"}
    variables = {
        **keys,
        "AMAZON_BUCKET": "shop-bucket",
        "AMAZON_REGION": "us-east-1",
        "AMAZON_ENDPOINT": server.url,
        "AMAZON_TIMEOUT": 1,
    }
    client = boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    client.create_bucket(Bucket="shop-bucket")
    client.close()
    return Case(
        amazon.SERVICE,
        server,
        variables,
        # moto takes any password, so this is what else a server refuses
        {**variables, "AMAZON_BUCKET": "another-bucket"},
        lambda port: {**variables, "AMAZON_ENDPOINT": f"http://127.0.0.1:{port}"},
    )


KINDS: dict[str, Callable[[t.Any], Case]] = {
    "redis_server": _redis,
    "mongo_server": _mongodb,
    "rabbit_server": _amqp,
    "smtp_server": _mail,
    "s3_server": _amazon,
}


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Case:
    server = request.getfixturevalue(request.param)
    if isinstance(server, SmtpServer):
        # How a test makes its own authority one that the machine trusts.
        monkeypatch.setenv("SSL_CERT_FILE", str(server.ca_file))
    return KINDS[request.param](server)


def test_ping_is_answered(case: Case, make_app: MakeApp) -> None:
    make_app(**case.variables)

    get_handle(case.service).engine.ping()


def test_load_connects_to_nothing(case: Case, make_app: MakeApp) -> None:
    make_app(**case.elsewhere(free_port()))

    quorum.unload()


def test_the_wrong_password_is_refused_and_not_shown(
    case: Case, make_app: MakeApp
) -> None:
    make_app(**case.wrong_password)

    with pytest.raises(quorum.ServiceRefusedError) as caught:
        get_handle(case.service).engine.ping()

    assert caught.value.service == case.service.name
    assert "sesame" not in str(caught.value) + repr(caught.value)


def test_a_server_that_is_not_there_is_named(case: Case, make_app: MakeApp) -> None:
    port = free_port()
    make_app(**case.elsewhere(port))
    start = time.monotonic()

    with pytest.raises(quorum.ServiceUnavailableError) as caught:
        get_handle(case.service).engine.ping()

    assert time.monotonic() - start < 15
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "sesame" not in str(caught.value) + repr(caught.value)


def test_a_silent_server_is_given_up_in_time(case: Case, make_app: MakeApp) -> None:
    make_app(**case.variables)
    handle = get_handle(case.service)
    handle.engine.ping()
    case.server.pause()
    start = time.monotonic()
    try:
        with pytest.raises(quorum.ServiceUnavailableError):
            handle.engine.ping()
    finally:
        case.server.resume()

    assert time.monotonic() - start < 8  # the limit is 1 s for each of a few tries


def test_a_server_that_came_back_is_found_again(case: Case, make_app: MakeApp) -> None:
    make_app(**case.variables)
    handle = get_handle(case.service)
    handle.engine.ping()
    case.server.kill()
    with pytest.raises(quorum.ServiceUnavailableError):
        handle.engine.ping()

    case.server.restart()
    if case.service is amazon.SERVICE:
        _amazon(t.cast(S3Server, case.server))  # moto forgets its buckets

    handle.engine.ping()


def test_a_forked_process_has_a_connection_of_its_own(
    case: Case, make_app: MakeApp
) -> None:
    make_app(**case.variables)
    engine = get_handle(case.service).engine
    engine.ping()

    child = os.fork()
    if child == 0:
        try:
            own = get_handle(case.service).engine
            own.ping()
            quorum.unload()
            os._exit(0 if own is not engine else 1)
        except BaseException:  # the parent's test must not go on in the child
            os._exit(2)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    engine.ping()


def _connections() -> int:
    """Count this process's sockets."""
    links = pathlib.Path("/proc/self/fd").iterdir()
    return sum("socket:" in str(link.readlink()) for link in links if link.is_symlink())


def test_the_unload_closes_every_connection(case: Case, make_app: MakeApp) -> None:
    before = _connections(), threading.active_count()
    make_app(**case.variables)
    get_handle(case.service).engine.ping()

    quorum.unload()

    deadline = time.monotonic() + 5
    while (_connections(), threading.active_count()) > before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def everything(
    redis_server: RedisServer,
    mongo_server: MongoServer,
    rabbit_server: RabbitServer,
    smtp_server: SmtpServer,
    s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, t.Any]:
    monkeypatch.setenv("SSL_CERT_FILE", str(smtp_server.ca_file))
    cases = [
        _redis(redis_server),
        _mongodb(mongo_server),
        _amqp(rabbit_server),
        _mail(smtp_server),
        _amazon(s3_server),
    ]
    variables: dict[str, t.Any] = {}
    for item in cases:
        variables.update(item.variables)
    return variables


def test_check_asks_all_of_them(
    everything: dict[str, t.Any], make_app: MakeApp
) -> None:
    app = make_app(**everything)

    result = app.test_cli_runner().invoke(group, ["check", "--json"])

    rows = json.loads(result.output)
    assert [(row["service"], row["status"]) for row in rows] == [
        (service.name, "ok") for service in SERVICES
    ]
    assert all(0 < row["seconds"] < 10 for row in rows)
    assert result.exit_code == 0
    assert "secret" not in result.output


def test_check_tells_which_one_failed(
    everything: dict[str, t.Any], make_app: MakeApp
) -> None:
    port = free_port()
    app = make_app(**everything | {"REDISTOGO_URL": f"redis://127.0.0.1:{port}"})

    result = app.test_cli_runner().invoke(group, ["check"])

    lines = result.output.splitlines()
    assert result.exit_code == 1
    assert [line.split()[1] for line in lines].count("ok") == len(SERVICES) - 1
    assert f"redis at 127.0.0.1:{port}: " in result.output


def test_the_clients_do_their_work(
    everything: dict[str, t.Any], make_app: MakeApp
) -> None:
    make_app(**everything)

    quorum.get_redis().set("key", "value")
    quorum.get_mongo_db().people.insert_one({"name": "Ann"})
    channel = quorum.get_amqp().channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, b"body")
    client: t.Any = quorum.get_amazon()
    client.put_object(Bucket="shop-bucket", Key="key", Body=b"content")

    assert quorum.get_redis().get("key") == b"value"
    assert quorum.mongodb.get_connection() is quorum.get_mongo()
    assert quorum.get_mongo_db().people.count_documents({"name": "Ann"}) >= 1
    assert channel.basic_get(queue, auto_ack=True)[2] == b"body"
    found = client.get_object(Bucket="shop-bucket", Key="key")
    assert found["Body"].read() == b"content"


def test_each_thread_has_an_amqp_connection_of_its_own(
    rabbit_server: RabbitServer, make_app: MakeApp
) -> None:
    make_app(CLOUDAMQP_URL=rabbit_server.url)
    found: list[object] = [quorum.get_amqp(), quorum.get_amqp()]

    thread = threading.Thread(target=lambda: found.append(quorum.get_amqp()))
    thread.start()
    thread.join()

    assert found[0] is found[1]
    assert found[2] is not found[0]


def test_an_amqp_connection_that_died_is_replaced(
    rabbit_server: RabbitServer, make_app: MakeApp
) -> None:
    make_app(CLOUDAMQP_URL=rabbit_server.url)
    dead = quorum.get_amqp()
    dead.close()

    assert quorum.get_amqp() is not dead
    assert quorum.get_amqp().is_open


def test_a_mail_server_whose_certificate_nobody_signed_gets_no_password(
    smtp_server: SmtpServer, make_app: MakeApp
) -> None:
    make_app(
        SMTP_HOST=f"localhost:{smtp_server.port}",
        SMTP_USER="quorum",
        SMTP_PASSWORD="secret",
    )

    with pytest.raises(quorum.ServiceRefusedError, match="certificate"):
        get_handle(mail.SERVICE).engine.ping()


def test_a_mail_server_without_tls_gets_no_password(make_app: MakeApp) -> None:
    with SmtpServer(mode="plain") as server:
        make_app(
            SMTP_HOST=f"{server.host}:{server.port}",
            SMTP_USER="quorum",
            SMTP_PASSWORD="secret",
        )

        with pytest.raises(quorum.ServiceRefusedError, match="not encrypted"):
            get_handle(mail.SERVICE).engine.ping()


def test_a_mail_server_without_a_user_needs_no_login(make_app: MakeApp) -> None:
    with SmtpServer(mode="plain") as server:
        make_app(SMTP_HOST=f"{server.host}:{server.port}")

        get_handle(mail.SERVICE).engine.ping()
