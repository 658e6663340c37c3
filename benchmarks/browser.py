"""Headless Chromium for the tests of reports and for their benchmark: opens files, sees errors and every request.

Needs Chromium with its driver, and selenium; :func:`why_not` says what is missing.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1000",
)
_LOCAL = ("file:", "data:", "blob:", "about:", "chrome:")


def _program(*names: str) -> str | None:
    return next((found for name in names if (found := shutil.which(name))), None)


def why_not() -> str:
    """What is missing to open pages, empty where nothing is."""
    if importlib.util.find_spec("selenium") is None:
        return "selenium is not installed (pip install selenium)"
    if _program("chromium", "chromium-browser", "google-chrome") is None:
        return "Chromium is not installed (apt-get install -y chromium)"
    if _program("chromedriver") is None:
        return "chromedriver is not installed (apt-get install -y chromium-driver)"
    return ""


@contextmanager
def browser(profile: Path) -> Iterator[Chrome]:
    """A browser with an empty profile in the folder ``profile``; it ends with the block."""
    from selenium.webdriver import Chrome
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = _program("chromium", "chromium-browser", "google-chrome") or ""
    for switch in (*_SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(_program("chromedriver")))
    try:
        driver.set_script_timeout(60)
        yield driver
    finally:
        driver.quit()


def open_page(driver: Chrome, path: Path) -> None:
    """Load a file and draw every figure of it, as printing would; requests of earlier pages are forgotten."""
    driver.get_log("performance")  # type: ignore[no-untyped-call]
    driver.get(path.resolve().as_uri())
    driver.execute_async_script(_DRAW)


def page_cpu_s(driver: Chrome, path: Path) -> float:
    """CPU seconds of the page's main thread until a file is open and drawn; other programs hardly change them."""
    driver.execute_cdp_cmd("Performance.disable", {})
    driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    open_page(driver, path)
    metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


_DRAW = """
const done = arguments[arguments.length - 1];
if (typeof chipsmithFigures === "undefined") { done(); return; }
chipsmithFigures.drawAll();
const wait = () => {
  const waiting = document.querySelectorAll(".plot:not([data-drawn]), .cloud:not([data-drawn])");
  if (waiting.length) setTimeout(wait, 10); else done();
};
wait();
"""


def complaints(driver: Chrome) -> list[str]:
    """Errors of the console since the last call."""
    entries: list[dict[str, Any]] = driver.get_log("browser")  # type: ignore[no-untyped-call]
    return [str(entry["message"]) for entry in entries if entry["level"] == "SEVERE"]


def foreign_requests(driver: Chrome, path: Path) -> list[str]:
    """Addresses that were asked for since the file was opened and are neither the file nor in it."""
    entries: list[dict[str, Any]] = driver.get_log("performance")  # type: ignore[no-untyped-call]
    messages = [json.loads(entry["message"])["message"] for entry in entries]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    own = path.resolve().as_uri()
    return [url for url in asked if not (url.startswith(_LOCAL) and (not url.startswith("file:") or url == own))]
