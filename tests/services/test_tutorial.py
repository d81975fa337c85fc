"""The end of the tutorial: the same app, on real servers."""

import contextlib
import pathlib
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from quorum.manual import Directive, Page
from tests.manual.walker import SOURCE, Walker, build_wheel, find_tools
from tests.processes import free_port
from tests.servers import MongoServer, RedisServer, SmtpServer
from tests.services.conftest import run


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    yield from run(SmtpServer, mode="plain")


def is_wanted(block: Directive) -> bool:
    """Return whether a block installs something, or needs servers."""
    kinds = block.options.get("class", "").split()
    return "servers" in kinds or "pip install" in block.body


def test_the_tutorial_ends_on_real_servers(
    tmp_path: pathlib.Path,
    mongo_server: MongoServer,
    redis_server: RedisServer,
    smtp: SmtpServer,
) -> None:
    """All of its files are written; the commands before are typed elsewhere."""
    index = tmp_path / "index"
    home = tmp_path / "home"
    index.mkdir()
    home.mkdir()
    port = str(free_port())
    names = {
        "5000": port,
        "quorum:secret@127.0.0.1:27017": urlsplit(mongo_server.url).netloc,
        "127.0.0.1:6379": f"{redis_server.host}:{redis_server.port}",
        "127.0.0.1:1025": f"{smtp.host}:{smtp.port}",
    }
    env = build_wheel(index, find_tools(index))
    walker = Walker(home, {**env, "PORT": port}, names)

    with contextlib.closing(walker):
        for name in ("tutorial.rst", "tutorial-models.rst"):
            walker.walk(Page(str(SOURCE / name)), is_wanted)

    (mail,) = smtp.received
    assert mail.receivers == ["ann@example.org"]
