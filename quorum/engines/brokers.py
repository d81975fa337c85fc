"""The brokers of dramatiq: how they are set, and where each keeps its dead letters."""

import contextlib
import hashlib
import json
import threading
import time
import types
import typing as t
from collections.abc import Callable, Iterator

import dramatiq
import dramatiq.errors
import pika
import redis
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.common import current_millis, dq_name, xq_name
from dramatiq.middleware import Middleware

from quorum.engines import pika as rabbit
from quorum.engines.redis import RedisServer
from quorum.errors import ServiceError
from quorum.queues import QueueSettings

#: What fails when a broker does.
BROKEN: t.Final = (
    dramatiq.errors.BrokerError,
    redis.RedisError,
    *rabbit.BROKEN,
    OSError,
)

#: The name of the only actor.
ACTOR: t.Final = "quorum"

_NAMESPACE: t.Final = "quorum"

#: Milliseconds without a sign of life after which a worker's tasks are run by others.
_DEAD: t.Final = 10_000

#: The same, after which they are marked as delivered before.
_STALE: t.Final = 8_000

#: Seconds that a beat waits for an answer that is on its way.
_MOMENT: t.Final = 0.1

_closed: t.Any = dramatiq.errors.ConnectionClosed  # its types are missing

Message: t.TypeAlias = dramatiq.Message[t.Any]


def make_message(queue: str, id: str, job: dict[str, t.Any]) -> Message:
    """Return a message.

    :param queue: Name of the queue.
    :param id: The identifier of the task.
    :param job: What the message says.
    :returns: The message.
    """
    return dramatiq.Message(queue, ACTOR, (), job, {}, message_id=id)


class _Memory(t.NamedTuple):
    """What a worker has of a queue in Redis."""

    keys: set[str]
    #: Held while messages are on their way: they are in no memory yet.
    fetching: threading.Lock


class _Redis(RedisBroker):
    """Knows the messages that its worker has, and gives back what never came.

    Redis counts a message as a worker's when it sends it, and the answer may get lost.
    """

    def __init__(self, **options: t.Any) -> None:
        make: t.Any = super().__init__  # its types are missing
        make(**options)
        self._memories: dict[str, _Memory] = {}

    def __getattr__(self, name: str) -> t.Any:
        """Return what runs a command; after an error dramatiq tries it again."""
        find: t.Any = super().__getattr__
        run = find(name)

        def act(queue: str, *rest: t.Any) -> t.Any:
            try:
                found = run(queue, *rest)
            except redis.RedisError as error:
                raise _closed(error) from error
            if name in ("do_ack", "do_nack", "do_requeue"):
                self._memories[queue].keys.difference_update(rest)
            return found

        return act

    def declare_queue(self, queue_name: str) -> None:
        """Make a queue known."""
        for name in (queue_name, dq_name(queue_name)):
            self._memories.setdefault(name, _Memory(set(), threading.Lock()))
        super().declare_queue(queue_name)

    def consume(self, queue_name: str, *args: t.Any, **options: t.Any) -> t.Any:
        """Return a new consumer; one before it has forgotten what waited for later."""
        if queue_name == dq_name(queue_name):
            self._memories[queue_name].keys.clear()
        return super().consume(queue_name, *args, **options)

    def do_fetch(self, queue: str, most: int) -> list[bytes]:
        """Return messages, up to so many, without what would end the consumer."""
        memory = self._memories[queue]
        with memory.fetching:
            bodies = self.__getattr__("do_fetch")(queue, most)
            keys = [_find_key(queue, body) for body in bodies]
            memory.keys.update(key for key in keys if key)
        return [body for body, key in zip(bodies, keys, strict=True) if key]

    def give_back(self, queue: str) -> None:
        """Put back what Redis counts as the worker's and it has not.

        What is no message is set aside.

        :param queue: Name of the queue.
        """
        memory = self._memories[queue]
        acks = f"{_NAMESPACE}:__acks__.{self.broker_id}.{queue}"
        if not memory.fetching.acquire(timeout=_MOMENT):
            return
        try:
            if self.client.scard(acks) != len(memory.keys):
                found = t.cast(set[bytes], self.client.smembers(acks))
                for key in {key.decode() for key in found} - memory.keys:
                    body: t.Any = self.client.hget(f"{_NAMESPACE}:{queue}.msgs", key)
                    sound = _find_key(queue, body) == key
                    (self.do_requeue if sound else self.do_nack)(queue, key)
        finally:
            memory.fetching.release()


class OverRedis:
    """dramatiq's broker on a Redis server.

    :param settings: Where it is.
    :param middleware: What dramatiq calls on the way of a message.
    """

    #: Milliseconds between two looks into an empty queue.
    idle: t.Final = 30

    def __init__(self, settings: QueueSettings, middleware: list[Middleware]) -> None:
        self._server = RedisServer(settings)
        self.address: str = self._server.address
        self.store: redis.Redis | None = self._server.client
        self.ping: Callable[[], None] = self._server.ping
        self.close: Callable[[], None] = self._server.close
        make: t.Any = _Redis  # its types are missing
        self.broker: _Redis = make(
            client=self._server.client,
            namespace=_NAMESPACE,
            middleware=middleware,
            heartbeat_timeout=_DEAD,
            maintenance_chance=100_000,  # of a million: with every tenth command
        )

    def explain(self, error: BaseException) -> ServiceError:
        """Return the error of ours for one of the client's."""
        return self._server.explain(_unwrap(error))

    def beat(self, queue: str) -> None:
        """Give a sign of life, and see to what got lost on the way to a worker.

        What dead workers had is marked: it was delivered before.

        :param queue: Name of the queue.
        """
        client = self._server.client
        try:
            heartbeats = f"{_NAMESPACE}:__heartbeats__"
            late = current_millis() - _STALE
            for worker in t.cast(
                list[bytes], client.zrangebyscore(heartbeats, 0, late)
            ):
                acks = f"{_NAMESPACE}:__acks__.{worker.decode()}.{queue}"
                for key in t.cast(set[bytes], client.smembers(acks)):
                    self._mark(queue, key)
            # Any command would do; a worker whose threads are all busy sends none.
            self.broker.do_qsize(queue)
            for name in (queue, dq_name(queue)):
                self.broker.give_back(name)
        except BROKEN:
            time.sleep(0)  # the next beat is a second away

    def was_redelivered(self, message: Message) -> bool:
        """Tell whether a worker that died had the message."""
        return bool(message.options.get("redelivered"))

    def bury(self, message: Message) -> None:
        """Add a message to the dead letters."""
        dead = f"{_NAMESPACE}:{xq_name(message.queue_name)}"
        pipeline = self._server.client.pipeline()
        pipeline.zadd(dead, {message.message_id: current_millis()})
        pipeline.hset(f"{dead}.msgs", message.message_id, message.encode())
        pipeline.execute()

    def list_dead(self, queue: str) -> list[Message]:
        """Return the messages among the dead letters."""
        return [_decode(queue, body) for body in self._find_dead(queue).values()]

    def drop(self, queue: str, id: str, failed: object) -> None:
        """Remove the dead letter of a task that was given up at that moment."""
        dead = f"{_NAMESPACE}:{xq_name(queue)}"
        script = "if redis.call('hget', KEYS[1], ARGV[1]) == ARGV[2] then "
        script += "redis.call('hdel', KEYS[1], ARGV[1]) "
        script += "redis.call('zrem', KEYS[2], ARGV[1]) end"
        for key, body in self._find_dead(queue).items():
            if _is_letter(_decode(queue, body), id, failed):
                self._server.client.eval(script, 2, f"{dead}.msgs", dead, key, body)

    def _find_dead(self, queue: str) -> dict[str, bytes]:
        key = f"{_NAMESPACE}:{xq_name(queue)}.msgs"
        return t.cast(dict[str, bytes], self._server.client.hgetall(key))

    def _mark(self, queue: str, key: bytes) -> None:
        messages = f"{_NAMESPACE}:{queue}.msgs"
        body: t.Any = self._server.client.hget(messages, key.decode())
        if _find_key(queue, body):
            fields = json.loads(body)
            fields["options"]["redelivered"] = True
            # Not if it was dealt with in the meantime: it would stay there for ever.
            script = "return redis.call('hexists', KEYS[1], ARGV[1]) == 1 and "
            script += "redis.call('hset', KEYS[1], ARGV[1], ARGV[2])"
            self._server.client.eval(script, 1, messages, key, json.dumps(fields))


class _Rabbit(RabbitmqBroker):
    """Publishes over one connection; a thread that ends would leave its own behind."""

    def __init__(self, **options: t.Any) -> None:
        super().__init__(**options)
        self.turn: t.Any = threading.RLock()
        self.state: t.Any = types.SimpleNamespace()

    def enqueue(self, message: Message, *, delay: int | None = None) -> Message:
        """Send a message, one thread after the other."""
        with self.turn:
            return super().enqueue(message, delay=delay)

    def declare_queue(self, queue_name: str, *, ensure: bool = False) -> None:
        """Make a queue known, one thread after the other."""
        with self.turn:
            super().declare_queue(queue_name, ensure=ensure)


class OverRabbit:
    """dramatiq's broker on a RabbitMQ server.

    :param settings: Where it is.
    :param middleware: What dramatiq calls on the way of a message.
    """

    #: Milliseconds between two looks at the clock; messages come by themselves.
    idle: t.Final = 100

    def __init__(self, settings: QueueSettings, middleware: list[Middleware]) -> None:
        self._server = rabbit.AMQPBroker(settings)
        self.address: str = self._server.address
        self.ping: Callable[[], None] = self._server.ping
        self.store: redis.Redis | None = None
        if settings.store is not None:
            self._redis = RedisServer(settings.of_store())
            self.store = self._redis.client
        parameters = self._server.parameters
        # A broker that is silent is noticed by its missing heartbeats.
        parameters.heartbeat = max(2, round(settings.timeout))
        self.broker: _Rabbit = _Rabbit(confirm_delivery=True, middleware=middleware)
        self.broker.parameters = parameters

    def close(self) -> None:
        """Close the connections."""
        with self.broker.turn:
            self.broker.close()
        self._server.close()
        if self.store is not None:
            self._redis.close()

    def explain(self, error: BaseException) -> ServiceError:
        """Return the error of ours for one of the client's."""
        return self._server.explain(_unwrap(error))

    def beat(self, queue: str) -> None:
        """Do nothing: the broker notices by itself when a worker dies."""

    def was_redelivered(self, message: Message) -> bool:
        """Tell whether a consumer had the message before."""
        return bool(getattr(message, "redelivered", False))

    def bury(self, message: Message) -> None:
        """Add a message to the dead letters."""
        with self.broker.turn:
            self.broker.declare_queue(message.queue_name, ensure=True)
            try:
                self.broker.channel.basic_publish(
                    "",
                    xq_name(message.queue_name),
                    message.encode(),
                    pika.BasicProperties(delivery_mode=2),
                    mandatory=True,
                )
            except rabbit.BROKEN:
                del self.broker.connection
                raise

    def list_dead(self, queue: str) -> list[Message]:
        """Return the messages among the dead letters."""
        return [message for _, _, message in self._take_dead(queue)]

    def drop(self, queue: str, id: str, failed: object) -> None:
        """Remove the dead letter of a task that was given up at that moment."""
        for channel, tag, message in self._take_dead(queue):
            if _is_letter(message, id, failed):
                channel.basic_ack(tag)

    def _take_dead(self, queue: str) -> Iterator[tuple[t.Any, int, Message]]:
        """Take all dead letters; those that are not acknowledged go back."""
        self.broker.declare_queue(queue, ensure=True)
        channel = self._server.connection().channel()
        try:
            while True:
                method, _, body = channel.basic_get(xq_name(queue))
                if method is None or body is None:
                    return
                yield channel, method.delivery_tag, _decode(queue, body)
        finally:
            channel.close()


def connect(
    settings: QueueSettings, middleware: list[Middleware]
) -> OverRedis | OverRabbit:
    """Return dramatiq's broker on the server that the settings name.

    :param settings: Where it is.
    :param middleware: What dramatiq calls on the way of a message.
    :returns: The broker, which connects when it has to.
    """
    kind = OverRedis if settings.scheme.startswith("redis") else OverRabbit
    return kind(settings, middleware)


def _unwrap(error: BaseException) -> BaseException:
    """Return the client's error that dramatiq's own holds."""
    inner = error.args[0] if error.args else None
    return inner if isinstance(inner, BaseException) else error


def _is_letter(message: Message, id: str, failed: object) -> bool:
    return message.message_id == id and message.kwargs.get("failed") == failed


def _find_key(queue: str, body: bytes | None) -> str | None:
    """Return the key of a message in Redis; what no worker could run has none."""
    with contextlib.suppress(dramatiq.errors.DecodeError):
        match t.cast(t.Any, dramatiq.Message.decode(body or b"")):
            case dramatiq.Message(
                queue_name=name,
                actor_name=str(),
                message_id=str(),
                kwargs=dict(),
                options={"redis_message_id": str(key)},
            ) if name == queue:
                return key
            case _:
                pass
    return None


def _decode(queue: str, body: bytes) -> Message:
    """Return the message of a body; what is none is shown as far as it can be."""
    with contextlib.suppress(dramatiq.errors.DecodeError):
        message: t.Any = dramatiq.Message.decode(body)
        if isinstance(message.kwargs, dict):
            return t.cast(Message, message)
    id = hashlib.sha256(body).hexdigest()[:32]
    return make_message(queue, id, {"reason": f"It is no message: {body[:200]!r}"})
