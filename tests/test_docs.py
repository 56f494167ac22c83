"""The documentation as people read it: in a browser, on a desk and on a telephone."""

import functools
import http.server
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(page.stem for page in DOCS.glob("*.rst"))

# What sticks out of the page although it does not scroll by itself.
STICKING_OUT = """() => {
  const width = document.documentElement.clientWidth;
  const scrolls = element => {
    for (let up = element; up && up !== document.body; up = up.parentElement)
      if (['auto', 'scroll'].includes(getComputedStyle(up).overflowX)) return true;
    return false;
  };
  return [...document.querySelectorAll('article *')]
    .filter(element => element.getBoundingClientRect().right > width + 1 && !scrolls(element))
    .map(element => element.outerHTML.slice(0, 100));
}"""
CUT_OFF = """() => [...document.querySelectorAll('svg.picture')].flatMap(picture => {
  const frame = picture.getBoundingClientRect();
  return [...picture.querySelectorAll('text, rect')].filter(part => {
    const box = part.getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1
        || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
  }).map(part => part.outerHTML.slice(0, 100));
})"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages, served on a free port of this machine."""
    directory = tmp_path_factory.mktemp("docs")
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", DOCS, directory], check=True
    )

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=directory)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_its_window(site, browser, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    problems = {}
    for name in PAGES:
        page.goto(f"{site}/{name}.html")
        found = page.evaluate(STICKING_OUT) + page.evaluate(CUT_OFF)
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            found.append("the page scrolls sideways")
        if found:
            problems[name] = found
    context.close()
    assert problems == {}


def test_the_drawings_are_on_their_pages(site, browser):
    page = browser.new_page()
    page.goto(f"{site}/architecture.html")
    titles = page.eval_on_selector_all(
        "svg.picture > title", "found => found.map(t => t.textContent)"
    )
    page.close()
    assert titles == ["Structure of edeposit.amqp", "Way of a message"]
