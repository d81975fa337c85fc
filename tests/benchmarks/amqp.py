"""What ``publish_amqp()`` costs beside raw pika with confirms."""

import time
import typing as t
from collections.abc import Iterator

import flask
import pika

import quorum
from tests.benchmarks.measuring import Effort, Row, benchmark, compare, loaded, timed
from tests.servers import RabbitServer


@benchmark("amqp", served=True)
def measure_amqp(effort: Effort) -> Iterator[Row]:
    """Compare persistent, confirmed messages to a queue that keeps only one."""
    body = bytes(1000)
    with (
        RabbitServer() as server,
        loaded(flask.Flask(__name__), CLOUDAMQP_URL=server.url),
    ):
        connection = pika.BlockingConnection(pika.URLParameters(server.url))
        channel: t.Any = connection.channel()
        channel.confirm_delivery()
        limits = {"x-max-length": 1}
        channel.queue_declare("letters", durable=True, arguments=limits)

        def publish() -> None:
            properties = pika.BasicProperties(delivery_mode=2)
            channel.basic_publish("", "letters", body, properties, mandatory=True)

        ours = timed(
            lambda: quorum.publish_amqp(body, "letters"), clock=time.perf_counter
        )
        limit = timed(publish, clock=time.perf_counter)
        rates = compare(ours, limit, effort, rates=True)
        yield Row("rate of publish_amqp()", rates, ">= 0.90")
        connection.close()
