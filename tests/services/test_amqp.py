"""Messages over a real RabbitMQ, and what becomes of them when it fails."""

import collections
import contextlib
import json
import os
import sys
import threading
import time
import typing as t
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import quorum
from quorum import amqp
from quorum.state import get_handle
from tests.conftest import MakeApp
from tests.servers import RabbitServer


@pytest.fixture(scope="module")
def rabbit() -> Iterator[RabbitServer]:
    """A broker of this module's own, which speaks TLS too."""
    if reason := RabbitServer.missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with RabbitServer(password="p@ss:w/rd", tls=True) as server:
        yield server


@pytest.fixture
def broker(rabbit: RabbitServer, make_app: MakeApp) -> RabbitServer:
    make_app(CLOUDAMQP_URL=rabbit.url, AMQP_TIMEOUT=5)
    declare()
    return rabbit


def declare(queue: str = "letters") -> None:
    channel = quorum.get_amqp().channel()
    channel.queue_declare(queue, durable=True)
    channel.queue_purge(queue)
    channel.close()


def take(queue: str = "letters") -> list[tuple[t.Any, bytes]]:
    """Take all messages out of a queue."""
    channel: t.Any = quorum.get_amqp().channel()
    taken = []
    while (found := channel.basic_get(queue, auto_ack=True))[0]:
        taken.append((found[1], found[2]))
    channel.close()
    return taken


@pytest.mark.parametrize(
    ("body", "kind", "sent"),
    [
        (b"\x00\xff", None, b"\x00\xff"),
        (bytearray(b"ab"), None, b"ab"),
        ("Grüße", "text/plain; charset=utf-8", "Grüße".encode()),
        ({"to": "Ann", "sum": 2}, "application/json", b'{"to": "Ann", "sum": 2}'),
        ([1, None], "application/json", b"[1, null]"),
        ("", "text/plain; charset=utf-8", b""),
    ],
)
def test_a_message_is_persistent_and_says_what_it_is(
    broker: RabbitServer, body: object, kind: str | None, sent: bytes
) -> None:
    quorum.publish_amqp(body, "letters")

    ((properties, taken),) = take()
    assert taken == sent
    assert properties.content_type == kind
    assert properties.delivery_mode == 2


def test_properties_go_with_the_message_and_are_not_changed(
    broker: RabbitServer,
) -> None:
    given = quorum.properties_amqp(
        content_type="application/x-own", delivery_mode=1, headers={"a": [1, {"b": 2}]}
    )
    other = quorum.properties_amqp()

    quorum.publish_amqp({"to": "Ann"}, "letters", properties=given)
    quorum.publish_amqp({"to": "Ann"}, "letters", properties=other)

    (first, _), (second, _) = take()
    assert (first.content_type, first.delivery_mode) == ("application/x-own", 1)
    assert first.headers == {"a": [1, {"b": 2}]}
    assert second.content_type == "application/json"
    assert other.content_type is None


def test_an_exchange_routes_by_the_key(broker: RabbitServer) -> None:
    channel: t.Any = quorum.get_amqp().channel()
    channel.exchange_declare("post", "topic")
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, "post", "letters.*")

    quorum.publish_amqp("Hello", "letters.ann", "post")

    assert channel.basic_get(queue, auto_ack=True)[2] == b"Hello"
    with pytest.raises(quorum.ServiceRefusedError, match=r"'post' has no queue for"):
        quorum.publish_amqp("Hello", "parcels.ann", "post")


def test_a_message_that_no_queue_takes_is_an_error(broker: RabbitServer) -> None:
    with pytest.raises(quorum.ServiceRefusedError, match="routing key 'nowhere'"):
        quorum.publish_amqp("Hello", "nowhere")

    quorum.publish_amqp("Hello", "letters")
    assert len(take()) == 1


def test_an_exchange_that_is_missing_is_an_error_once(broker: RabbitServer) -> None:
    connection = quorum.get_amqp()
    with pytest.raises(quorum.ServiceRefusedError, match="no exchange 'nowhere'"):
        quorum.publish_amqp("Hello", "letters", "nowhere")

    quorum.publish_amqp("Hello", "letters")
    assert len(take()) == 1
    assert quorum.get_amqp() is connection


def test_a_full_queue_is_an_error_that_may_pass(broker: RabbitServer) -> None:
    channel: t.Any = quorum.get_amqp().channel()
    limits = {"x-max-length": 1, "x-overflow": "reject-publish"}
    queue = channel.queue_declare("", exclusive=True, arguments=limits).method.queue
    quorum.publish_amqp("first", queue)

    with pytest.raises(quorum.ServiceUnavailableError, match="did not take"):
        quorum.publish_amqp("second", queue)


CARRIED = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
HEADERS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), CARRIED),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(CARRIED, inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200_000),
    st.dictionaries(CARRIED, HEADERS, max_size=4),
    CARRIED.filter(lambda text: len(text.encode()) < 256),
)
def test_what_amqp_can_carry_survives(
    broker: RabbitServer, body: bytes, headers: dict[str, t.Any], name: str
) -> None:
    made = quorum.properties_amqp(headers=headers, correlation_id=name, type=name)

    quorum.publish_amqp(body, "letters", properties=made)

    ((properties, taken),) = take()
    assert taken == body
    assert properties.headers == headers
    assert (properties.correlation_id, properties.type) == (name, name)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), CARRIED),
        lambda inner: st.dictionaries(CARRIED, inner, max_size=3),
        max_leaves=10,
    ).filter(lambda value: not isinstance(value, str))
)
def test_json_survives(broker: RabbitServer, body: object) -> None:
    quorum.publish_amqp(body, "letters")

    ((_, taken),) = take()
    assert json.loads(taken) == body


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CARRIED.filter(lambda text: 0 < len(text.encode()) < 256))
def test_any_name_of_a_queue_works(broker: RabbitServer, name: str) -> None:
    if name.startswith("amq.") or "\r" in name or "\n" in name:
        return  # RabbitMQ keeps the first, and strips the others
    channel: t.Any = quorum.get_amqp().channel()
    channel.queue_declare(name, exclusive=True)

    quorum.publish_amqp(b"1", name)

    assert channel.basic_get(name, auto_ack=True)[2] == b"1"
    channel.queue_delete(name)
    channel.close()


# The URL: upstream's Q1.


@pytest.fixture
def trusting(rabbit: RabbitServer, monkeypatch: pytest.MonkeyPatch) -> RabbitServer:
    monkeypatch.setenv("SSL_CERT_FILE", str(rabbit.ca_file))
    return rabbit


def test_port_password_and_virtual_host_of_the_url_count(
    rabbit: RabbitServer, make_app: MakeApp
) -> None:
    with contextlib.suppress(Exception):
        rabbit.control("add_vhost", "a/b c")
        rabbit.control("set_permissions", "-p", "a/b c", "guest", ".*", ".*", ".*")
    make_app(CLOUDAMQP_URL=f"{rabbit.url.removesuffix('%2F')}a%2Fb%20c")

    connection: t.Any = quorum.get_amqp()
    parameters = connection._impl.params

    assert "p%40ss%3Aw%2Frd" in rabbit.url
    assert (parameters.port, parameters.virtual_host) == (rabbit.port, "a/b c")


def test_tls_works_with_a_certificate_that_is_trusted(
    trusting: RabbitServer, make_app: MakeApp
) -> None:
    make_app(CLOUDAMQP_URL=trusting.tls_url)

    declare()
    quorum.publish_amqp("Hello", "letters")

    assert len(take()) == 1


def test_tls_without_a_trusted_certificate_is_refused(
    rabbit: RabbitServer, make_app: MakeApp
) -> None:
    make_app(CLOUDAMQP_URL=rabbit.tls_url)

    with pytest.raises(quorum.ServiceRefusedError, match="not trusted: self-signed"):
        quorum.get_amqp()


def test_tls_with_the_certificate_of_another_host_is_refused(
    trusting: RabbitServer, make_app: MakeApp
) -> None:
    make_app(CLOUDAMQP_URL=trusting.tls_url.replace("localhost", "127.0.0.1"))

    with pytest.raises(quorum.ServiceRefusedError, match="not trusted: IP address"):
        quorum.get_amqp()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [("/%2F", "/nowhere", "vhost nowhere not found"), ("guest:", "ann:", "Login was")],
)
def test_a_missing_virtual_host_and_a_wrong_user_are_refused(
    rabbit: RabbitServer, make_app: MakeApp, old: str, new: str, reason: str
) -> None:
    make_app(CLOUDAMQP_URL=rabbit.url.replace(old, new))

    for call in (quorum.get_amqp, lambda: quorum.publish_amqp(b"", "letters")):
        with pytest.raises(quorum.ServiceRefusedError, match=reason) as caught:
            call()
        assert "p@ss" not in str(caught.value)
        assert "p%40ss" not in str(caught.value)


# Connections that die, and threads: upstream's Q2 to Q5.


def close_all(broker: RabbitServer) -> None:
    broker.control("close_all_connections", "maintenance")
    time.sleep(0.3)


def test_a_connection_that_the_broker_closed_is_replaced(broker: RabbitServer) -> None:
    dead = quorum.get_amqp()
    close_all(broker)

    assert quorum.get_amqp() is not dead
    assert quorum.get_amqp().is_open
    close_all(broker)
    quorum.publish_amqp("Hello", "letters")
    assert len(take()) == 1


def test_a_connection_that_lives_is_kept(broker: RabbitServer) -> None:
    connection = quorum.get_amqp()

    quorum.publish_amqp("Hello", "letters")

    assert quorum.get_amqp() is connection


def test_a_consumer_may_publish(broker: RabbitServer) -> None:
    channel: t.Any = quorum.get_amqp().channel()
    answers = channel.queue_declare("", exclusive=True).method.queue

    def consume(channel: t.Any, method: t.Any, properties: t.Any, body: bytes) -> None:
        quorum.publish_amqp(body + b" too", answers)
        channel.basic_ack(method.delivery_tag)
        channel.stop_consuming()

    channel.basic_consume("letters", consume)
    quorum.publish_amqp("Hello", "letters")
    channel.start_consuming()

    assert channel.basic_get(answers, auto_ack=True)[2] == b"Hello too"
    assert take() == []


def test_a_consumer_may_take_longer_than_the_broker(
    broker: RabbitServer, make_app: MakeApp
) -> None:
    quorum.unload()
    make_app(CLOUDAMQP_URL=broker.url, AMQP_TIMEOUT=1)
    channel: t.Any = quorum.get_amqp().channel()
    answers = channel.queue_declare("", exclusive=True).method.queue

    def consume(channel: t.Any, method: t.Any, properties: t.Any, body: bytes) -> None:
        time.sleep(1.5)
        quorum.publish_amqp("late", answers)
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume("letters", consume)
    quorum.publish_amqp("Hello", "letters")
    deadline = time.monotonic() + 30
    found = None
    while found is None and time.monotonic() < deadline:
        quorum.get_amqp()  # calls the consumer
        found = channel.basic_get(answers, auto_ack=True)[2]

    assert found == b"late"


def test_a_publish_that_an_unload_overtakes_leaves_no_connection(
    broker: RabbitServer,
) -> None:
    engine: t.Any = get_handle(amqp.SERVICE).engine
    quorum.unload()

    with pytest.raises(quorum.ServiceUnavailableError, match="closed meanwhile"):
        engine.publish(b"late", "letters", "", quorum.properties_amqp())

    assert engine._open == {}
    listed = broker.control("list_connections", "name").splitlines()
    assert listed[1:] == []


def test_connections_of_threads_that_have_ended_are_closed(
    broker: RabbitServer,
) -> None:
    for _ in range(5):
        thread = threading.Thread(target=quorum.publish_amqp, args=("1", "letters"))
        thread.start()
        thread.join()

    engine: t.Any = get_handle(amqp.SERVICE).engine
    assert len(engine._open) <= 2
    quorum.unload()
    listed = broker.control("list_connections", "name").splitlines()
    assert listed[1:] == []


def test_a_memory_alarm_is_an_error_in_time_and_passes(
    broker: RabbitServer, make_app: MakeApp
) -> None:
    quorum.unload()
    make_app(CLOUDAMQP_URL=broker.url, AMQP_TIMEOUT=1)
    quorum.publish_amqp("before", "letters")
    broker.control("set_vm_memory_high_watermark", "0.000001")
    start = time.monotonic()
    try:
        with pytest.raises(quorum.ServiceUnavailableError, match="short of memory"):
            quorum.publish_amqp("during", "letters")
    finally:
        broker.control("set_vm_memory_high_watermark", "absolute", "512MB")

    assert time.monotonic() - start < 8
    quorum.publish_amqp("after", "letters")
    assert {body for _, body in take()} >= {b"before", b"after"}


def test_a_silent_broker_is_given_up_in_time(
    broker: RabbitServer, make_app: MakeApp
) -> None:
    quorum.unload()
    make_app(CLOUDAMQP_URL=broker.url, AMQP_TIMEOUT=1)
    quorum.publish_amqp("before", "letters")
    broker.pause()
    start = time.monotonic()
    try:
        with pytest.raises(
            quorum.ServiceUnavailableError, match="not confirmed in 1 s"
        ):
            quorum.publish_amqp("during", "letters")
        with pytest.raises(quorum.ServiceUnavailableError, match="does not answer"):
            quorum.publish_amqp("during", "letters")
    finally:
        broker.resume()

    assert time.monotonic() - start < 10


def test_an_unload_does_not_wait_for_a_silent_broker(
    broker: RabbitServer, make_app: MakeApp
) -> None:
    quorum.unload()
    make_app(CLOUDAMQP_URL=broker.url, AMQP_TIMEOUT=1)
    quorum.get_amqp()
    broker.pause()
    start = time.monotonic()
    try:
        quorum.unload()
    finally:
        broker.resume()

    assert time.monotonic() - start < 5


def test_no_confirmed_message_is_lost_when_the_broker_stops(
    make_app: MakeApp, capsys: pytest.CaptureFixture[str]
) -> None:
    if reason := RabbitServer.missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    confirmed: list[str] = []
    failed: collections.Counter[str] = collections.Counter()
    stop = threading.Event()

    def publish(thread: int) -> None:
        for number in range(10**9):
            if stop.is_set():
                return
            name = f"{thread}-{number}"
            try:
                quorum.publish_amqp(name, "letters")
            except quorum.ServiceError as error:
                failed[type(error).__name__] += 1
                time.sleep(0.05)
            else:
                confirmed.append(name)

    with RabbitServer() as server:
        make_app(CLOUDAMQP_URL=server.url, AMQP_TIMEOUT=10)
        declare()
        declare("others")  # writes the first: RabbitServer
        threads = [threading.Thread(target=publish, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for end in (server.kill, lambda: None):
            wait_for(confirmed, 200)
            end()
            server.restart()  # ends a running server cleanly
        wait_for(confirmed, 200)
        stop.set()
        for thread in threads:
            thread.join()
        queued = collections.Counter(body.decode() for _, body in take())
        quorum.unload()

    lost = set(confirmed) - set(queued)
    twice = sum(count - 1 for count in queued.values())
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(confirmed)} confirmed, {sum(queued.values())} queued, "
            f"{len(lost)} lost, {twice} twice, {failed.total()} errors\n"
        )
    assert lost == set()
    assert failed


def wait_for(confirmed: list[str], more: int) -> None:
    wanted = len(confirmed) + more
    deadline = time.monotonic() + 60
    while len(confirmed) < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.01)
