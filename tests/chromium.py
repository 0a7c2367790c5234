"""A real browser without a window: Debian's chromium, driven by selenium."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,800",
)


def program(*names: str) -> str:
    """The path of the first program that is there."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.fail(f"no {names[0]}: apt-get install chromium chromium-driver")
    return found


@contextmanager
def browser(profile: Path) -> Iterator[Chrome]:
    """A browser with a fresh profile in this folder."""
    options = ChromeOptions()
    options.binary_location = program("chromium", "chromium-browser", "google-chrome")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, Service(program("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()
