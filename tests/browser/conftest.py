"""The page, built once and served, and Chromium to look at it."""

import contextlib
import functools
import http.server
import shutil
import tempfile
import threading

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextlib.contextmanager
def served(folder):
    """The address of a server for the files of `folder`."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()


@contextlib.contextmanager
def chromium(*flags):
    """A fresh headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium to drive Chromium")
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs Chromium and chromedriver (on Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}", *flags):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        driver.set_script_timeout(120)
        try:
            yield driver
        finally:
            driver.quit()


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The page, with its runtime."""
    from examples.browser.__main__ import build

    pytest.importorskip("tf2onnx", reason="needs tf2onnx to export the network")
    if shutil.which("npm") is None:
        pytest.skip("needs npm to install onnxruntime-web")
    folder = tmp_path_factory.mktemp("page")
    build(folder)
    if not (folder / "runtime").exists():
        pytest.skip("needs onnxruntime-web, which npm could not install")
    return folder


@pytest.fixture(scope="session")
def browser():
    with chromium("--force-prefers-reduced-motion") as driver:  # nothing runs by itself
        yield driver


@pytest.fixture(scope="session")
def address(folder):
    with served(folder) as address:
        yield address


@pytest.fixture
def page(browser, address):
    """Chromium with the page, loaded."""
    return opened(browser, address)


def opened(driver, address):
    """Loads the page, until it runs or says why not; what went wrong before is not looked at."""
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get(address)
    said = "return !!window.watch || document.getElementById('problem').classList.contains('told')"
    WebDriverWait(driver, 120).until(lambda driver: driver.execute_script(said))
    return driver
