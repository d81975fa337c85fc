"""The examples that can use real servers, on these."""

import json
import pathlib
import typing as t
import urllib.error
import urllib.request

import pika

from tests.examples_photos import PHOTOS, check_photos
from tests.processes import clean_environment, free_port, get, running
from tests.servers import RabbitServer, SwiftServer
from tests.services.test_amazon import make_bucket, variables


def test_photos_are_kept_at_a_server(
    swift_server: SwiftServer, tmp_path: pathlib.Path
) -> None:
    make_bucket(swift_server)
    values = {name: str(value) for name, value in variables(swift_server).items()}

    check_photos(tmp_path, clean_environment(**values))

    assert list(tmp_path.iterdir()) == []


def test_parcels_reach_the_broker(rabbit_server: RabbitServer) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/parcels"
    environment = clean_environment(CLOUDAMQP_URL=rabbit_server.url, PORT=str(port))
    folder = PHOTOS.parent.parent

    with running("dispatch.py", cwd=folder, env=environment) as process:
        assert "Method Not Allowed" in get_error(url, process)
        request = urllib.request.Request(
            url, b'{"photo": 1}', {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer) == {"status": "accepted"}

    connection = pika.BlockingConnection(pika.URLParameters(rabbit_server.url))
    channel: t.Any = connection.channel()
    body = channel.basic_get("parcels", auto_ack=True)[2]
    channel.queue_delete("parcels")
    connection.close()
    assert json.loads(body) == {"photo": 1}


def get_error(url: str, process: t.Any) -> str:
    """Return what a page says that is an error, as soon as the server answers."""
    try:
        return get(url, process)
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()
