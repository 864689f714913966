"""Tests of the site `make site` builds: whole, without a dead link, and nothing from elsewhere."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
LONGEST_SECONDS = 300
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""Elements that load what they name, by the attribute that does."""
ONLY_NAMED = {"canonical", "alternate", "prev", "next"}
"""Links of a page's head that load nothing."""
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def build(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Build the site into a folder as `make site` does."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", folder, *more],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class Loaded(HTMLParser):
    """Gathers what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        """Look at one element."""
        given = dict(attrs)
        if set((given.get("rel") or "").split()) & ONLY_NAMED:
            return
        if address := given.get(LOADS.get(tag, ""), ""):
            self.addresses.append(address)


def test_every_page_of_docs_is_in_the_site(site):
    """Those of the root too; a page without a place in the navigation ends the build."""
    wanted = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    wanted |= {"index.md", "zh/index.md", "changelog.md", "contributing.md", "security.md"}

    assert [name for name in wanted if not (site / name).with_suffix(".html").is_file()] == []


def test_no_page_loads_anything_from_elsewhere(site):
    """No script, style, font or picture; what styles load is in the site as well."""
    elsewhere = {}
    for page in site.rglob("*.html"):
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert loaded.addresses
        if found := [each for each in loaded.addresses if urlsplit(each).netloc]:
            elsewhere[page.name] = found
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        if found := re.findall(r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')]+)", text):
            elsewhere[style.name] = found

    assert elsewhere == {}


def test_the_search_knows_both_languages(site):
    """A word of each, and the characters of Chinese are words of their own."""
    index = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))
    texts = {each["location"]: each["text"] for each in index["docs"]}

    assert any("rollback" in text for text in texts.values())
    assert any("扩容" in text for name, text in texts.items() if name.startswith("zh/"))


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing of it."""

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    """Where the site is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_browser_finds_words_of_both_languages_and_asks_nobody_else(address):
    """In Chromium: what it loads, what the search finds, and nothing wider than the window."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - `make e2e` alone installs it

    program = next(filter(None, map(shutil.which, CHROMIUM)))
    asked: set[str] = set()
    found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 420, "height": 900})
        page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
        for name in ("index", "operations", "preflight", "zh/tutorial"):
            page.goto(f"{address}/{name}.html")
            assert page.evaluate("document.documentElement.scrollWidth") <= 420, name
        page.set_viewport_size({"width": 1280, "height": 900})
        for word in ("half-rolled-back", "扩容"):
            page.fill(".md-search__input", word)
            page.press(".md-search__input", "End")
            results = page.locator(".md-search-result__item a")
            results.first.wait_for()
            found[word] = " ".join(each.get_attribute("href") for each in results.all()[:8])
            page.goto(f"{address}/index.html")
        browser.close()

    assert asked == {urlsplit(address).netloc}
    assert "/zh/" in found["扩容"]
    assert any(name in found["half-rolled-back"] for name in ("causes", "operations"))


def test_a_page_in_chinese_says_so(site):
    """To screen readers, to the choice of fonts, and in the words of the theme."""
    chinese = (site / "zh/tutorial.html").read_text(encoding="utf-8")
    english = (site / "tutorial.html").read_text(encoding="utf-8")

    assert '<html lang="zh"' in chinese
    assert "搜索" in chinese
    assert '<html lang="en"' in english


def test_a_dead_link_ends_the_build(tmp_path):
    """Whether page, place in a page, or file at the root."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    (tmp_path / "pages").symlink_to(ROOT / "pages")
    with (tmp_path / "docs/batch.md").open("a", encoding="utf-8") as page:
        page.write("\n[1](nowhere.md) [2](preflight.md#no-such-rule) [3](../AWAY.md)\n")

    done = build(tmp_path / "site", "--config-file", str(tmp_path / "mkdocs.yml"))

    assert done.returncode != 0
    assert [name for name in ("nowhere", "no-such-rule", "AWAY") if name not in done.stderr] == []
