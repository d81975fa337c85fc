"""The newsroom on real servers: an issue for 5,000 readers, with what may go wrong.

The app and the workers are programs of their own, as they would be on a server. What
was sent, sent twice and lost is printed, with the speed and the memory.
"""

import collections
import contextlib
import datetime as dt
import http.cookiejar
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator

import flask
import pytest

import quorum
from tests.processes import PATIENCE, clean_environment, free_port, get, running
from tests.servers import (
    MongoServer,
    RabbitServer,
    RedisServer,
    Server,
    SmtpServer,
)
from tests.services.conftest import run
from tests.services.test_faults import say

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
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


class Workers:
    """Worker processes, and the most memory that each of them had."""

    def __init__(self, log: pathlib.Path, variables: dict[str, str]) -> None:
        self._log, self._variables = log, variables
        self._processes: list[subprocess.Popen[bytes]] = []
        self.peaks: dict[int, int] = {}

    def start(self) -> None:
        command = [sys.executable, "-m", "flask", "--app", "newsroom"]
        command += ["quorum", "worker", "--processes=1", "--threads=4"]
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=EXAMPLES,
                env=clean_environment(**self._variables),
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)

    def kill_first(self) -> None:
        """End a worker as the kernel does when memory runs out: nothing is told."""
        process = self._processes.pop(0)
        children = self._find_children(process)
        process.kill()
        for child in children:
            os.kill(child, signal.SIGKILL)
        process.wait()

    def measure(self) -> None:
        for process in self._processes:
            for pid in self._find_children(process):
                with contextlib.suppress(OSError):
                    status = pathlib.Path(f"/proc/{pid}/status").read_text()
                    found = re.search(r"VmHWM:\s*(\d+) kB", status)
                    self.peaks[pid] = int(found[1]) if found else 0

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @staticmethod
    def _find_children(process: subprocess.Popen[bytes]) -> list[int]:
        task = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        return [int(word) for word in task.read_text().split()]


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
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    mongo = urllib.parse.urlsplit(mongo_server.url)
    variables = {
        "MONGOHQ_URL": mongo._replace(path=f"/news{port}").geturl(),
        "REDISTOGO_URL": redis_server.url,
        "QUEUE_URL": broker.url,
        "QUEUE_STATE_URL": redis_server.url,
        "SMTP_URL": relay.url,
        "NEWSROOM_URL": url,
        "PORT": str(port),
        "PYTHONWARNINGS": "default",
    }

    def restart() -> None:
        broker.kill()
        broker.restart()

    subscribe_readers(variables["MONGOHQ_URL"])
    workers = Workers(tmp_path / "log", variables)
    with contextlib.ExitStack() as stack:
        stack.callback(workers.stop)
        environment = clean_environment(**variables)
        process = stack.enter_context(
            running("-m", "newsroom", cwd=EXAMPLES, env=environment)
        )
        get(url, process)
        editor = Editor(url)
        editor.post("/login", name="editor", password="for this machine only")
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
