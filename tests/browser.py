"""A headless Chromium for tests, with Debian's chromium and chromium-driver.

It reaches this machine only, and keeps nothing in the user's folders.
"""

import contextlib
import json
import os
import shutil
import tempfile
import typing as t
from collections.abc import Iterator

import pytest
from selenium import webdriver

#: Longest wait for a page, a script or an element, in seconds.
PATIENCE: t.Final = 30.0

_ARGUMENTS: t.Final = (
    "--headless",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-proxy-server",
    # What a page asks of another machine fails at once, and is still told.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


class Browser:
    """A browser with one window, to be closed."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="quorum-browser-")
        try:
            self.driver = self._start(self._folder.name)
            self.driver.set_page_load_timeout(PATIENCE)
            self.driver.set_script_timeout(PATIENCE)
        except BaseException:
            self._folder.cleanup()
            raise

    @staticmethod
    def missing() -> str | None:
        """Say why no browser can run here, if so."""
        for program in ("chromium", "chromedriver"):
            if shutil.which(program) is None:
                return f"{program} is not installed: run tests/install_servers"
        return None

    @staticmethod
    def _start(folder: str) -> webdriver.Chrome:
        options = webdriver.ChromeOptions()
        # Given both paths, selenium looks for no browser of its own to download.
        options.binary_location = str(shutil.which("chromium"))
        for argument in (*_ARGUMENTS, f"--user-data-dir={folder}/profile"):
            options.add_argument(argument)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # Chromium's does not work for root
        options.set_capability(
            "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
        )
        service = webdriver.ChromeService(
            executable_path=shutil.which("chromedriver"),
            env={**os.environ, "HOME": folder, "TMPDIR": folder},
        )
        return webdriver.Chrome(options=options, service=service)

    def close(self) -> None:
        """End the browser and remove its files."""
        try:
            self.driver.quit()
        finally:
            self._folder.cleanup()

    def run(self, script: str, *arguments: object) -> t.Any:
        """Return what a script returns in the page; a promise is waited for."""
        return self.driver.execute_script(script, *arguments)

    def set_size(self, width: int, height: int) -> None:
        """Show pages as a screen of this size does, in CSS pixels."""
        self._tell(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def set_scheme(self, scheme: t.Literal["light", "dark"]) -> None:
        """Prefer this colour scheme, as the user's system may."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._tell("Emulation.setEmulatedMedia", features=[feature])

    def read_clipboard(self) -> str:
        """Return the text that the page has copied."""
        return str(self.run("return navigator.clipboard.readText()"))

    def allow_clipboard(self, origin: str) -> None:
        """Let the pages of an origin read and write the clipboard."""
        allowed = ["clipboardReadWrite", "clipboardSanitizedWrite"]
        self._tell("Browser.grantPermissions", origin=origin, permissions=allowed)

    def take_messages(self) -> list[str]:
        """Return what the console has shown since the last call, with its level."""
        return [
            f"{entry['level']} {entry['message']}" for entry in self._take("browser")
        ]

    def take_requests(self) -> list[str]:
        """Return the URLs that were asked for since the last call, redirects too."""
        found = []
        for entry in self._take("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                found.append(event["params"]["request"]["url"])
            elif event["method"] == "Network.webSocketCreated":
                found.append(event["params"]["url"])
        # The browser's own first page, which no other page can ask for.
        return [url for url in found if not url.startswith("chrome://")]

    def _take(self, log: str) -> list[dict[str, t.Any]]:
        return list(self.driver.execute("getLog", {"type": log})["value"])

    def _tell(self, command: str, **parameters: t.Any) -> None:
        self.driver.execute_cdp_cmd(command, parameters)


def run_browser() -> Iterator[Browser]:
    """Be the body of a fixture: one browser, or a skip that fails in CI."""
    if reason := Browser.missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with contextlib.closing(Browser()) as browser:
        yield browser
