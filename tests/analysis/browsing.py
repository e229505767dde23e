"""A headless Chromium for the tests of the HTML report."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest
from made_records import Folder

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
PATIENCE = 120  # seconds until a browser that does not answer is an error


def start() -> Any:
    """A headless Chromium that logs what the page says and what it asks the network for."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("needs Chromium and its driver (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.page_load_strategy = "none"  # what a busy machine does now and then: `get` returns before the page is there
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    opened.set_script_timeout(PATIENCE)
    return opened


def soon(browser: Any, condition: Callable[[], bool]) -> None:
    """Waits until a condition holds: on a busy machine the browser answers before it has done what was asked."""
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.support.wait import WebDriverWait

    between = [WebDriverException]  # while a page takes the place of another, neither answers
    WebDriverWait(browser, PATIENCE, ignored_exceptions=between).until(lambda _: condition())


def drawn(browser: Any) -> None:
    """Waits for two frames: what a frame brings, such as the event of an earlier scroll, has then been handled."""
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")


def visit(browser: Any, folder: Folder) -> None:
    """Loads the report and waits until all of it is there, has run its script and is drawn."""
    address = (folder.results / "report.html").as_uri()
    browser.execute_script("window.left = true")  # the page before may have the same address
    browser.get(address)
    state = "return [location.href, document.readyState, Boolean(window.left)]"
    soon(browser, lambda: browser.execute_script(state) == [address, "complete", False])
    drawn(browser)


def size(browser: Any, name: str) -> None:
    width, height = SIZES[name]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": name == "phone"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def choose(browser: Any, kind: str, value: str) -> None:
    """Chooses what is shown; an empty value shows everything."""
    script = "const f = document.querySelector(`select[data-choose=${arguments[0]}]`); f.value = arguments[1];"
    browser.execute_script(script + " f.dispatchEvent(new Event('change', {bubbles: true}))", kind, value)


VISIBLE_ROWS = (
    "return [...document.querySelectorAll(arguments[0])].filter((r) => r.checkVisibility()).map((r) => r.innerText)"
)


def shown(browser: Any, rows: str) -> list[str]:
    """The text of each row that is visible."""
    return list(browser.execute_script(VISIBLE_ROWS, rows))
