"""Headless Chromium, for the tests of the page and for its picture. Needs selenium, Chromium and chromedriver."""

from __future__ import annotations

import contextlib
import functools
import http.server
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
    "--force-prefers-reduced-motion",  # the page does not run by itself then
)  # fmt: skip


def programs() -> tuple[str | None, str | None]:
    """The paths of Chromium and of chromedriver; None for one that is not there."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None), shutil.which("chromedriver")


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server for the files of `folder`."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Silent, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def chromium(*flags: str) -> Iterator[Any]:
    """A selenium driver of a fresh Chromium."""
    from selenium import webdriver

    browser, driver_program = programs()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}", *flags):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_program))
        driver.set_script_timeout(120)
        try:
            yield driver
        finally:
            driver.quit()


def open_page(driver: Any, address: str) -> Any:
    """Loads the page and waits until it runs, or says why it does not."""
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get(address)
    said = "return !!window.watch || document.getElementById('problem').classList.contains('told')"
    WebDriverWait(driver, 120).until(lambda driver: driver.execute_script(said))
    return driver


def look(driver: Any, width: int, height: int, scheme: str = "light") -> None:
    """Gives the window a size in CSS pixels (a phone's, if it is narrow) and the page light or dark colours."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
