"""The newsroom on real servers: an issue for 5,000 readers, with what may go wrong.

The app and the workers are programs of their own, as they would be on a server. What
was sent, sent twice and lost is printed, with the speed and the memory.
"""

import collections
import datetime as dt
import http.cookiejar
import json
import pathlib
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator

import flask
import pytest

import quorum
from tests.processes import PATIENCE
from tests.servers import (
    MongoServer,
    RabbitServer,
    RedisServer,
    Server,
    SmtpServer,
)
from tests.services.conftest import run
from tests.services.newsroom import PASSWORD, serving
from tests.services.test_faults import say

READERS = 5000

#: Longest wait for the whole sending, in seconds.
LONG = 240.0


@pytest.fixture(scope="module")
def relay() -> Iterator[SmtpServer]:
    """A mail server that asks for no password, as one on the same machine."""
    yield from run(SmtpServer, mode="plain")


@pytest.fixture(params=["redis", "rabbit"])
def broker(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A broker of the test's own, which keeps what it has on the disk."""
    if request.param == "rabbit":
        yield from run(RabbitServer)
    else:
        yield from run(RedisServer, appendonly=True)


class Editor:
    """Somebody with a browser who has logged in."""

    def __init__(self, url: str) -> None:
        self.url = url
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._browser = urllib.request.build_opener(cookies)

    def get(self, path: str) -> str:
        with self._browser.open(
            urllib.parse.urljoin(self.url, path), timeout=PATIENCE
        ) as answer:
            return str(answer.read().decode())

    def post(self, path: str, **form: str) -> str:
        """Send a form; return the address of the page it leads to."""
        data = urllib.parse.urlencode(form).encode()
        with self._browser.open(
            urllib.parse.urljoin(self.url, path), data, timeout=PATIENCE
        ) as answer:
            return str(answer.url)

    def read_version(self, path: str) -> str:
        found = re.search(r'name="version" value="(\d+)"', self.get(path))
        assert found
        return found[1]


def subscribe_readers(url: str) -> None:
    """Put the readers where their confirmation would."""
    app = quorum.load(flask.Flask("readers"), MONGOHQ_URL=url)
    with app.app_context():
        quorum.get_mongo_db()["readers"].insert_many(
            [
                {
                    "email": f"reader{number}@example.org",
                    "token": f"token-{number}",
                    "state": "confirmed",
                    "asked": dt.datetime.now(dt.UTC),
                }
                for number in range(READERS)
            ]
        )
        quorum.unload()


def count_mails(server: SmtpServer) -> int:
    return sum(1 for _ in (server.folder / "mail").glob("*.json"))


def test_an_issue_reaches_everybody_though_a_worker_and_the_broker_die(
    broker: Server,
    relay: SmtpServer,
    redis_server: RedisServer,
    mongo_server: MongoServer,
    tmp_path: pathlib.Path,
) -> None:
    relay.clear()
    variables = {
        "MONGOHQ_URL": mongo_server.url,
        "REDISTOGO_URL": redis_server.url,
        "QUEUE_URL": broker.url,
        "QUEUE_STATE_URL": redis_server.url,
        "SMTP_URL": relay.url,
    }

    def restart() -> None:
        broker.kill()
        broker.restart()

    with serving(tmp_path, **variables) as workers:
        subscribe_readers(workers.variables["MONGOHQ_URL"])
        editor = Editor(workers.variables["NEWSROOM_URL"])
        editor.post("/login", name="editor", password=PASSWORD)
        page = editor.post("/issues/new", title="News", text="It is all here.")
        for _ in range(2):
            workers.start()
        start = time.monotonic()
        editor.post(page + "/send", version=editor.read_version(page))
        faults = [(READERS // 5, workers.kill_first), (READERS // 2, restart)]
        while not (progress := json.loads(editor.get(page + "/progress")))["over"]:
            assert time.monotonic() - start < LONG, (progress, count_mails(relay))
            for _ in range(20):
                time.sleep(0.05)
                if faults and count_mails(relay) >= faults[0][0]:
                    faults.pop(0)[1]()
            workers.measure()
        took = time.monotonic() - start

    got = collections.Counter(mail.receivers[0] for mail in relay.received)
    lost = READERS - len(got)
    peak = max(workers.peaks.values()) // 1024
    say(
        f"newsroom over {broker.name}: {READERS} readers, {sum(got.values())} mails "
        f"sent, {sum(got.values()) - len(got)} of them again, {lost} lost, "
        f"{len(got) / took:.0f} a second, {peak} MB in the largest worker"
    )
    assert lost == 0
    assert faults == []
    counts = {"waiting": 0, "sent": READERS, "failed": 0}
    assert progress == {**counts, "readers": READERS, "over": True}
