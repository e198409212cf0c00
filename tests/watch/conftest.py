"""The page, built once and served, and Chromium to look at it."""

import pytest

from docs.watch.__main__ import build
from docs.watch.chromium import chromium, open_page, programs, served


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The page."""
    if not all(programs()):
        pytest.fail("needs Chromium and chromedriver (on Debian: apt-get install chromium chromium-driver)")
    folder = tmp_path_factory.mktemp("page")
    build(folder)
    return folder


@pytest.fixture(scope="session")
def address(folder):
    with served(folder) as address:
        yield address


@pytest.fixture(scope="session")
def browser(folder):
    with chromium() as driver:
        yield driver


@pytest.fixture
def page(browser, address):
    """Chromium with the page, loaded."""
    return open_page(browser, address)
