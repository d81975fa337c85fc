"""The newsroom on real servers, in a browser, as readers and editors use it."""

import json
import pathlib
import re
import struct
import time
import typing as t
import urllib.parse
import zlib
from collections.abc import Iterator

import pika
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.browser import Browser, run_browser
from tests.processes import PATIENCE
from tests.servers import (
    MongoServer,
    RabbitServer,
    RedisServer,
    SmtpServer,
    SwiftServer,
)
from tests.services.conftest import run
from tests.services.newsroom import PASSWORD, serving
from tests.services.test_amazon import make_bucket
from tests.services.test_amazon import variables as amazon


def make_picture(width: int) -> bytes:
    """Return a PNG file that is one row of grey."""
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, 1, 8, 0, 0, 0, 0),
        b"IDAT": zlib.compress(bytes([0]) + bytes([128]) * width),
        b"IEND": b"",
    }
    chunks = (
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def wait_for_link(relay: SmtpServer, address: str) -> str:
    """Return the link in the mail to somebody, when it has come."""
    end = time.monotonic() + PATIENCE
    while True:
        for mail in relay.received:
            if mail.receivers == [address]:
                body = mail.message.get_body(("plain",))
                found = re.search(r"http\S+", str(body.get_content())) if body else None
                assert found
                return found[0]
        assert time.monotonic() < end
        time.sleep(0.05)


def wait_for_event(server: RabbitServer, name: str) -> dict[str, t.Any]:
    """Return the event of that name, which other programs would get."""
    connection = pika.BlockingConnection(pika.URLParameters(server.url))
    channel: t.Any = connection.channel()
    end = time.monotonic() + PATIENCE
    event: dict[str, t.Any] = {}
    while event.get("event") != name:
        assert time.monotonic() < end
        body = channel.basic_get("newsroom.events", auto_ack=True)[2]
        event = json.loads(body) if body else {}
        time.sleep(0.05)
    connection.close()
    return event


@pytest.fixture
def relay() -> Iterator[SmtpServer]:
    """A mail server that asks for no password."""
    yield from run(SmtpServer, mode="plain")


class Visitor:
    """Somebody at a browser, who sees what is there and clicks on it."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser, self._driver, self._url = browser, browser.driver, url

    def go(self, path: str) -> None:
        self._driver.get(urllib.parse.urljoin(self._url, path))

    @property
    def text(self) -> str:
        return str(self._browser.run("return document.body?.innerText"))

    def find(self, label: str) -> WebElement:
        """Find a field as a screen reader does, by its label, once it is there."""
        script = """
            return [...document.querySelectorAll("label")].find(
                (label) => label.textContent.trim().startsWith(arguments[0])
            )?.control"""
        end = time.monotonic() + PATIENCE
        while (field := self._browser.run(script, label)) is None:
            assert time.monotonic() < end, self.text
            time.sleep(0.05)
        return t.cast("WebElement", field)

    def fill(self, **fields: str) -> None:
        for label, text in fields.items():
            field = self.find(label.replace("_", " "))
            if field.get_attribute("type") != "file":
                field.clear()
            field.send_keys(text)

    def click(self, words: str) -> None:
        """Press the button or follow the link of these words."""
        path = f"//*[self::button or self::a][normalize-space()={words!r}]"
        self._driver.find_element(By.XPATH, path).click()

    def wait(self, words: str, seconds: float = PATIENCE) -> None:
        """Wait until the page says so."""
        end = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < end, self.text
            time.sleep(0.05)

    def log_in(self, password: str) -> None:
        self.go("/login")
        self.fill(Name="editor", Password=password)
        self.click("Log in")

    def check_width(self) -> None:
        """See that a phone needs no scrolling sideways."""
        script = """
            const page = document.scrollingElement;
            return [page.scrollWidth, page.clientWidth]"""
        wide, screen = self._browser.run(script)
        assert wide <= screen, self._driver.current_url


@pytest.fixture
def browser() -> Iterator[Browser]:
    yield from run_browser()


def test_readers_and_editors_get_their_work_done_in_a_browser(
    browser: Browser,
    relay: SmtpServer,
    redis_server: RedisServer,
    rabbit_server: RabbitServer,
    mongo_server: MongoServer,
    swift_server: SwiftServer,
    tmp_path: pathlib.Path,
) -> None:
    make_bucket(swift_server)
    picture = tmp_path / "picture.png"
    picture.write_bytes(make_picture(2))
    variables = {
        "MONGOHQ_URL": mongo_server.url,
        "REDISTOGO_URL": redis_server.url,
        "QUEUE_URL": rabbit_server.url,
        "CLOUDAMQP_URL": rabbit_server.url,
        "SMTP_URL": relay.url,
        "NEWSROOM_RETRIES": "1",
        "QUEUE_BACKOFF": "0.1",
        **{name: str(value) for name, value in amazon(swift_server).items()},
    }
    browser.set_size(360, 740)
    driver = browser.driver

    with serving(tmp_path, **variables) as workers:
        workers.start()
        url = workers.variables["NEWSROOM_URL"]
        visitor = Visitor(browser, url)

        for name in ("ann", "bob"):
            visitor.go("/")
            visitor.check_width()
            visitor.fill(**{"Your e-mail address": f"{name}@example.org"})
            visitor.click("Subscribe")
            visitor.wait("Look into your mailbox")
            driver.get(wait_for_link(relay, f"{name}@example.org"))
            visitor.click("Yes, send it to me")
            visitor.wait("You are on the list")
        assert browser.take_messages() == []

        visitor.log_in("a wrong one")
        visitor.wait("Name or password are wrong")
        browser.take_messages()  # that the answer was 403
        visitor.log_in(PASSWORD)
        visitor.wait("There are none yet")
        assert browser.run("return document.cookie") == ""

        visitor.click("Write an issue")
        visitor.fill(Title="Spring", Text="It is here.", Picture=str(picture))
        visitor.fill(What_the_picture_shows="A flower")
        visitor.check_width()
        visitor.click("Save")
        visitor.wait("Changed by editor")
        wide = "return document.querySelector('article img').naturalWidth"
        assert browser.run(wide) == 2
        first, page = driver.current_window_handle, driver.current_url

        driver.switch_to.new_window("tab")
        visitor.go(page + "/edit")
        visitor.fill(Text="It is here at last.")
        visitor.click("Save")
        second = driver.current_window_handle
        driver.switch_to.window(first)
        visitor.find("I have read it").click()
        visitor.click("Send it")
        visitor.wait("It was changed since you opened it")
        visitor.wait("It is here at last.")

        relay.pause()
        visitor.find("I have read it").click()
        visitor.click("Send it")
        visitor.wait("0 sent, 2 waiting, 0 failed")
        visitor.check_width()
        relay.resume()
        visitor.wait("2 sent, 0 waiting, 0 failed")
        visitor.wait("Sent\n")
        assert wait_for_event(rabbit_server, "issue.sent")["sent"] == 2

        visitor.go("/issues/new")
        visitor.fill(Title="Summer", Text="Too hot for servers.")
        visitor.click("Save")
        relay.kill()
        visitor.find("I have read it").click()
        visitor.click("Send it")
        visitor.wait("Not delivered")
        visitor.wait("ann@example.org")
        visitor.check_width()
        relay.restart()
        visitor.click("Try all 2 again")
        visitor.wait("2 sent, 0 waiting, 0 failed")

        assert browser.take_messages() == []
        visitor.click("Log out")
        visitor.wait("Subscribe")
        driver.back()
        visitor.wait("Password")
        assert "Summer" not in visitor.text
        driver.switch_to.window(second)
        driver.refresh()
        visitor.wait("Password")
        asked = browser.take_requests()
        assert [other for other in asked if not other.startswith((url, "data:"))] == []
