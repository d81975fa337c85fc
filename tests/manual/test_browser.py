"""The manual as a reader has it: built, served, and shown by a browser.

Every check is also made of a site with faults, and has to find them.
"""

import contextlib
import http.server
import os
import pathlib
import re
import shutil
import threading
import typing as t
from collections.abc import Iterator

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from quorum.config import VARIABLES
from tests.browser import PATIENCE, Browser, run_browser
from tests.manual.test_lies import build, copy_project

Scheme: t.TypeAlias = t.Literal["light", "dark"]

PHONE = (360, 740)
DESK = (1300, 900)

#: Where the faults of the looks are planted: it has a note, code, links, a table.
PAGE = "installation/"

#: The ratio that WCAG 2 asks of text that is not large, level AA.
CONTRAST = 4.5

# The theme does not let the window scroll sideways, but a part that holds the text.
_SCROLLS_SIDEWAYS = """
const found = [];
for (let part = document.querySelector("article"); part; part = part.parentElement) {
    const { overflowX } = getComputedStyle(part);
    if (part.scrollWidth > part.clientWidth && overflowX !== "visible") {
        found.push(`${part.tagName} ${part.scrollWidth} in ${part.clientWidth}`);
    }
}
return found;
"""

_LOW_CONTRAST = """
const [limit] = arguments;
document.getAnimations().forEach((change) => change.finish());
const parse = (color) => {
    const parts = color.match(/[\\d.]+/g).map(Number);
    return parts.length < 4 ? [...parts, 1] : parts;
};
const blend = ([r, g, b, a], below) =>
    [r, g, b].map((part, at) => part * a + below[at] * (1 - a));
const luminance = (color) => {
    const [r, g, b] = color.map((part) => {
        const share = part / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const background = (element) => {
    if (!element) return [255, 255, 255];
    const color = parse(getComputedStyle(element).backgroundColor);
    return color[3] === 1
        ? color.slice(0, 3) : blend(color, background(element.parentElement));
};
const found = new Set();
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const text = texts.currentNode.data.trim();
    const options = { opacityProperty: true, visibilityProperty: true };
    if (!text || !element.checkVisibility(options)) continue;
    const below = background(element);
    const color = blend(parse(getComputedStyle(element).color), below);
    const [dark, light] = [below, color].map(luminance).sort((a, b) => a - b);
    if ((light + 0.05) / (dark + 0.05) < limit) found.add(text);
}
return [...found];
"""

_COPY_ALL = """
const copied = [];
document.execCommand = () => copied.push(document.activeElement.value);
return [...document.querySelectorAll("div.highlight")].map((block) => {
    block.querySelector("button.copybtn")?.click();
    return [block.querySelector("pre").textContent, copied.pop() ?? null];
});
"""

# Prints the names of those that cannot be reached by their permalinks.
_UNREACHABLE = """
document.documentElement.style.scrollBehavior = "auto";
return arguments[0].filter((name) => {
    const anchor = `#confval-${name}`;
    location.hash = anchor;
    const entry = document.querySelector(":target");
    const { top, bottom } = entry?.getBoundingClientRect() ?? {};
    return !(
        top >= 0 && bottom <= innerHeight && entry.textContent.includes(name) &&
        entry.querySelector(`a.headerlink[href="${anchor}"]`)
    );
});
"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder as it is now, and tells nobody."""

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Site(t.NamedTuple):
    """A built manual, and where it is served, with a slash at the end."""

    folder: pathlib.Path
    url: str


@contextlib.contextmanager
def serve(folder: pathlib.Path) -> Iterator[Site]:
    def handle(*arguments: t.Any) -> Handler:
        return Handler(*arguments, directory=folder)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handle) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Site(folder, f"http://127.0.0.1:{server.server_port}/")
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve the manual that was just built, or build it."""
    if not (built := os.environ.get("QUORUM_TEST_MANUAL")):
        folder = tmp_path_factory.mktemp("manual")
        copy_project(folder)
        result = build(folder, "dirhtml")
        assert result.status == 0, result.output
        built = str(folder / "out")
    with serve(pathlib.Path(built)) as served:
        yield served


@pytest.fixture(scope="module")
def faulty(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve a copy of the manual, for faults to be planted in."""
    folder = tmp_path_factory.mktemp("faulty") / "html"
    shutil.copytree(site.folder, folder)
    with serve(folder) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from run_browser()


def change(site: Site, file: str, old: str, new: str) -> None:
    path = site.folder / file
    text = path.read_text()
    assert old in text, f"{old!r} is not in {file}"
    path.write_text(text.replace(old, new))


def find_miscopied(browser: Browser) -> list[str]:
    """Return the blocks of code of which another text is copied than is to be typed."""
    miscopied = []
    for shown, copied in browser.run(_COPY_ALL):
        lines = shown.rstrip("\n").split("\n")
        if lines[0].startswith(("$ ", ">>> ")):
            typed, goes_on = [], False
            for line in lines:
                prompt = re.match(r"\$ |> |>>> |\.\.\. ", line)
                if prompt or goes_on:
                    typed.append(line[prompt.end() if prompt else 0 :])
                goes_on = (prompt or goes_on) and line.endswith("\\")
            lines = typed
        if copied != "\n".join(lines):
            miscopied.append(shown)
    return miscopied


def look(browser: Browser, site: Site, page: str) -> dict[str, list[str]]:
    """Say what is wrong with a page, by the name of the check."""
    browser.take_messages()
    browser.take_requests()
    browser.set_size(*PHONE)
    browser.driver.get(f"{site.url}{page}")
    found = {"width": browser.run(_SCROLLS_SIDEWAYS)}
    browser.set_size(*DESK)
    for scheme in t.get_args(Scheme):
        browser.set_scheme(scheme)
        found[scheme] = browser.run(_LOW_CONTRAST, CONTRAST)
    found["copied"] = find_miscopied(browser)
    found["console"] = browser.take_messages()
    found["requests"] = [
        url
        for url in browser.take_requests()
        if not url.startswith((site.url, "data:"))
    ]
    return {check: problems for check, problems in found.items() if problems}


def test_every_page_is_readable_anywhere(browser: Browser, site: Site) -> None:
    pages = sorted(
        f"{path.parent.relative_to(site.folder)}/"
        for path in site.folder.rglob("index.html")
    )

    found = {page: look(browser, site, page) for page in pages}

    assert len(found) > 30
    assert {page: problems for page, problems in found.items() if problems} == {}


@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        ("<p style='width: 400px'>Wide.</p>", {"width"}),
        ("<style>pre { width: 400px; overflow: visible }</style>", {"width"}),
        ("<style>article p { color: #aaa }</style>", {"light"}),
        ("<style>article p { color: #444 }</style>", {"dark"}),
        ("<style>article a { color: #777 !important }</style>", {"light", "dark"}),
        (
            "<style>.highlight span { color: #777 !important }</style>",
            {"light", "dark"},
        ),
        ("<style>.admonition-title { color: #ccc !important }</style>", {"light"}),
        ("<script>console.error('Broken.')</script>", {"console"}),
        ("<script>undefined.broken()</script>", {"console"}),
        ("<script src='../_static/none.js'></script>", {"console"}),
        ("<img src='https://example.org/logo.png'>", {"console", "requests"}),
        ("<script>new WebSocket('ws://127.0.0.2')</script>", {"console", "requests"}),
    ],
)
def test_a_fault_of_a_page_is_found(
    browser: Browser, site: Site, faulty: Site, fault: str, checks: set[str]
) -> None:
    text = (site.folder / PAGE / "index.html").read_text()
    page = faulty.folder / "fault" / "index.html"
    page.parent.mkdir(exist_ok=True)
    page.write_text(text.replace("</article>", f"{fault}</article>", 1))

    found = look(browser, faulty, "fault/")

    assert found.keys() == checks


def find_unreachable(browser: Browser, site: Site) -> list[str]:
    browser.driver.get(f"{site.url}configuration/")
    return list(browser.run(_UNREACHABLE, [*VARIABLES]))


def test_every_variable_has_a_permalink(
    browser: Browser, site: Site, faulty: Site
) -> None:
    change(faulty, "configuration/index.html", 'id="confval-PORT"', 'id="port"')

    assert "PORT" in VARIABLES
    assert find_unreachable(browser, site) == []
    assert find_unreachable(browser, faulty) == ["PORT"]


def search(browser: Browser, site: Site, words: str) -> list[str]:
    """Return the addresses that are found, without the site's own part."""
    browser.driver.get(site.url)
    browser.driver.find_element(By.NAME, "q").send_keys(f"{words}\n")
    WebDriverWait(browser.driver, PATIENCE).until(
        lambda _: browser.run("return Search.title.innerText") == "Search Results"
    )
    links = browser.driver.find_elements(By.CSS_SELECTOR, "ul.search a")
    return [str(link.get_property("href")).removeprefix(site.url) for link in links]


def test_the_search_finds_a_function(
    browser: Browser, site: Site, faulty: Site
) -> None:
    change(faulty, "searchindex.js", "send_mail", "snail")

    found = search(browser, site, "send_mail")
    browser.driver.find_element(By.PARTIAL_LINK_TEXT, "quorum.send_mail").click()

    assert "api/#quorum.send_mail" in found
    assert browser.driver.current_url == f"{site.url}api/#quorum.send_mail"
    assert browser.run("return document.querySelector(':target').tagName") == "DT"
    assert search(browser, faulty, "send_mail") == []


def test_output_that_is_copied_is_found(browser: Browser, faulty: Site) -> None:
    change(faulty, "_static/copybutton.js", "(text, '", "(text, 'none")

    assert look(browser, faulty, PAGE).keys() == {"copied"}


@pytest.mark.parametrize(
    ("page", "words", "typed"),
    [
        ("commands/", "--help", "flask --app shop quorum --help"),
        (
            "installation/",
            "Traceback",
            'raise quorum.MissingDependencyError("redis", "redis")',
        ),
        (
            "howto/amqp/",
            "import dispatch, quorum",
            (
                'python -c "import dispatch, quorum\n'
                "quorum.publish_amqp('Hello', 'parcels', "
                "properties=quorum.properties_amqp(expiration='60000'))\""
            ),
        ),
    ],
)
def test_the_copy_button_fills_the_clipboard(
    browser: Browser, site: Site, page: str, words: str, typed: str
) -> None:
    browser.allow_clipboard(site.url)
    browser.driver.get(f"{site.url}{page}")
    blocks = browser.driver.find_elements(By.CSS_SELECTOR, "div.highlight")
    block = next(block for block in blocks if words in block.text)
    button = block.find_element(By.CSS_SELECTOR, "button.copybtn")

    ActionChains(browser.driver).move_to_element(block).click(button).perform()

    assert browser.read_clipboard() == typed
