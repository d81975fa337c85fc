"""What objects cost beside raw boto3, with one client for both."""

import io
import time
import typing as t
from collections.abc import Callable, Iterator

import flask

import quorum
from tests.benchmarks.measuring import Effort, Row, benchmark, compare, loaded, timed
from tests.servers import SwiftServer

SMALL = bytes(10_000)
LARGE = bytes(100_000_000)


@benchmark("amazon", served=True)
def measure_amazon(effort: Effort) -> Iterator[Row]:
    """Compare small objects, and large ones that are streamed."""
    with SwiftServer() as server:
        app = flask.Flask(__name__)
        variables = {
            "AMAZON_ENDPOINT": server.url,
            "AMAZON_REGION": server.region,
            "AMAZON_ID": server.access_key,
            "AMAZON_SECRET": server.secret_key,
            "AMAZON_BUCKET": "shop",
            "AMAZON_TIMEOUT": 60,
        }
        with loaded(app, **variables):
            client: t.Any = quorum.get_amazon()
            client.create_bucket(Bucket="shop")
            for name, ours, limit in pairs(client):
                subject = timed(ours, clock=time.perf_counter)
                floor = timed(limit, clock=time.perf_counter)
                yield Row(name, compare(subject, floor, effort, rates=True), ">= 0.95")


def pairs(
    client: t.Any,
) -> Iterator[tuple[str, Callable[[], object], Callable[[], object]]]:
    """Give the two ways to do each thing; what is got has been put before."""
    place = {"Bucket": "shop", "Key": "a"}
    large = ("shop", "large")
    yield (
        "rate of put, 10 KB",
        lambda: quorum.get_amazon_key("a").set_contents_from_string(SMALL),
        lambda: client.put_object(**place, Body=SMALL),
    )
    yield (
        "rate of get, 10 KB",
        lambda: quorum.get_amazon_key("a").get_contents_as_string(),
        lambda: client.get_object(**place)["Body"].read(),
    )
    yield (
        "rate of put, 100 MB streamed",
        lambda: quorum.get_amazon_key("large").set_contents_from_file(
            io.BytesIO(LARGE)
        ),
        lambda: client.upload_fileobj(io.BytesIO(LARGE), *large),
    )
    yield (
        "rate of get, 100 MB streamed",
        lambda: quorum.get_amazon_key("large").get_contents_to_file(io.BytesIO()),
        lambda: client.download_fileobj(*large, io.BytesIO()),
    )
