"""The built book in a browser with the network blocked: it loads whole, draws, links and fits a phone."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from book.tools.project import ROOT

SITE = ROOT / "_build" / "html"
CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for path in SITE.rglob("*.html")
    if path.relative_to(SITE).parts[0] not in {"_static", "_sources"}
)
PHONE = {"width": 390, "height": 800}
DESK = {"width": 1280, "height": 900}
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

if not PAGES:
    # `make test` builds the book first and must not pass without it.
    if "BERTMINI_SITE" in os.environ:
        raise RuntimeError("the book is not built")
    pytest.skip("the book is not built: make book", allow_module_level=True)


class Page(HTMLParser):
    """What a page names and where it leads."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.anchors = {""}
        self.pictures: list[str | None] = []  # their alternative text
        self.links: list[str] = []
        self.sources: list[str] = []
        self.feed((SITE / name).read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs).get("alt"))
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            if name == "href" and tag == "a" and value:
                self.links.append(value)
            if value and ((name == "src" and tag != "a") or (name == "href" and tag == "link")):
                self.sources.append(value)


@functools.cache
def parsed(name: str) -> Page:
    return Page(name)


@pytest.mark.parametrize("name", PAGES)
def test_every_internal_link_resolves(name):
    broken = []
    for link in parsed(name).links:
        target = urlsplit(urljoin(f"http://book/{name}", link))
        if target.netloc != "book" or target.scheme != "http":
            continue
        path = unquote(target.path).lstrip("/") or "index.html"
        there = (SITE / path).is_file()
        if not there or (path.endswith(".html") and unquote(target.fragment) not in parsed(path).anchors):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_loaded_from_elsewhere(name):
    assert [source for source in parsed(name).sources if source.startswith(("http:", "https:", "//"))] == []
    assert "cdnjs.cloudflare.com" not in (SITE / name).read_text("utf-8")


@pytest.mark.parametrize("name", [page for page in PAGES if page.startswith("notebooks/")])
def test_a_chapter_has_its_colab_button_and_pictures_have_words(name):
    text = (SITE / name).read_text("utf-8")
    assert "https://colab.research.google.com/github/" in text
    assert f"/blob/main/{name.removesuffix('.html')}.ipynb" in text
    pictures = parsed(name).pictures
    assert all(words and "_images/" not in words for words in pictures), pictures


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(SITE))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("NO BROWSER: the pages were not looked at; install chromium to run these tests")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)


@dataclass
class Visit:
    """A page that was opened, and what went wrong on it."""

    page: object
    trouble: list[str] = field(default_factory=list)


@pytest.fixture
def visit(browser, address):
    context = browser.new_context(viewport=DESK)
    context.set_default_timeout(120_000)  # of milliseconds: a busy machine draws slowly

    def open_page(name: str, viewport: dict[str, int] = DESK, theme: str = "light") -> Visit:
        page = context.new_page()
        page.set_viewport_size(viewport)
        page.add_init_script(
            f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')"
        )
        visited = Visit(page)

        def only_the_book(route):
            url = route.request.url
            if url.startswith((address, "data:", "blob:")):
                route.continue_()
            else:
                visited.trouble.append(f"asks for {url}")
                route.abort()

        page.route("**/*", only_the_book)
        page.on("console", lambda message: message.type == "error" and visited.trouble.append(message.text))
        page.on("pageerror", lambda error: visited.trouble.append(str(error)))
        page.on(
            "response",
            lambda response: (
                response.status >= 400 and visited.trouble.append(f"{response.status} {response.url}")
            ),
        )
        page.goto(address + name, wait_until="networkidle")
        return visited

    yield open_page
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_draws_and_fits_a_phone(visit, name):
    visited = visit(name)
    page = visited.page
    text = (SITE / name).read_text("utf-8")

    mathematics = page.locator("span.math, div.math").count()
    if mathematics:
        page.wait_for_selector("mjx-container", state="attached")
        assert page.locator("mjx-container").count() >= mathematics
        assert page.locator("mjx-merror, [data-mjx-error]").count() == 0

    views = text.count('<div id="bertviz-') + text.count("<div id='bertviz-")
    if views:
        page.wait_for_selector('[id^="bertviz-"] svg line', state="attached")
        assert page.locator('[id^="bertviz-"] svg').count() == views
    widgets = text.count('type="application/vnd.jupyter.widget-view+json"')
    if widgets:
        page.wait_for_selector(".jupyter-widgets", state="attached")

    page.set_viewport_size(PHONE)
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert visited.trouble == []


def test_pictures_are_readable_in_the_dark(visit):
    """The theme would put a grey plate behind pictures and views, and dim them."""
    name = next((page for page in PAGES if page.startswith("notebooks/")), None)
    if name is None:
        pytest.skip("no chapter in the book")
    page = visit(name, theme="dark").page
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    styles = page.evaluate(
        "[...document.querySelectorAll('.cell_output img')].map(e => getComputedStyle(e))"
        ".map(s => [s.filter, s.backgroundColor])"
    )
    for brightness, ground in styles:
        assert ground == "rgba(0, 0, 0, 0)"
        assert brightness == "none" or float(brightness.removeprefix("brightness(").rstrip(")")) >= 1


def test_the_search_finds_a_word(visit):
    page = visit("search.html?q=token").page
    page.wait_for_selector("#search-results li", state="attached")


def test_a_browser_was_there_or_it_was_said():
    if CHROMIUM is None:
        pytest.skip("NO BROWSER: install chromium (apt-get install chromium), or the pages stay unlooked at")
    assert Path(CHROMIUM).exists()
