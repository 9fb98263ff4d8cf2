"""A real browser, where there is one: Chromium, driven through playwright."""

import shutil
from collections.abc import Iterator

import pytest
from playwright import sync_api

CHROMIUM = shutil.which("chromium")
OFFLINE = ("--no-sandbox", "--disable-background-networking", "--disable-component-update")
WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""Without a graphics card."""
PATIENCE_MS = 120_000


@pytest.fixture(scope="session")
def browser() -> Iterator[sync_api.Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*OFFLINE, *WEBGL])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: sync_api.Browser) -> Iterator[sync_api.Page]:
    page = browser.new_page(viewport={"width": 1500, "height": 1000})
    page.set_default_timeout(PATIENCE_MS)
    yield page
    page.close()
