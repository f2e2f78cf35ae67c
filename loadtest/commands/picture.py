"""Pictures of Locust's Memory tab, in Chromium: `.venv/bin/python -m loadtest.commands.picture docs/images`.

Starts `make loadtest-ui`, runs its first two variants one after the other, and writes locust.png (both runs laid over
each other) and, for looking only, `tab-*.png` during and after the run, at desktop and phone width, light and dark, and
the picture in Locust's report. Environment: as for `make loadtest-ui`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from stack import CHECKOUT


def main(folder: Path) -> int:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        print("Chromium is not installed. On Debian: apt-get install chromium", file=sys.stderr)
        return 2
    port = os.environ.get("LOCUST_PORT") or "8089"
    command = [sys.executable, "-m", "loadtest.commands.ui"]
    with (
        subprocess.Popen(command, cwd=CHECKOUT, env={"VARIANTS": "without lowtide", **os.environ}) as locust,
        sync_playwright() as playwright,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            while not answers(url):
                if locust.poll() is not None:
                    return 2
                time.sleep(1)
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            take(browser, url, folder)
            browser.close()
        finally:
            locust.terminate()
    return 0


def answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=5) as page:  # noqa: S310
        return bool(page.status == 200)
    return False


def start(page: Any) -> None:
    page.get_by_role("button", name="Start").click()
    page.get_by_role("button", name="Stop").wait_for()
    page.get_by_role("tab", name="Memory").click()


def wait_for_the_end(page: Any) -> None:
    """Wait until the list of requests is done, and then until idle workers have been replaced."""
    while page.request.get("/memory/data.json").json()["running"]:
        time.sleep(1)
    time.sleep(12)
    # Locust's page may have stopped asking before its users had ended, and would not show the button New.
    page.reload()


def take(browser: Any, url: str, folder: Path) -> None:
    looked = Path(tempfile.mkdtemp(prefix="lowtide-pictures-"))
    page = browser.new_page(base_url=url, viewport={"width": 1280, "height": 860})
    page.set_default_timeout(120_000)
    page.goto(url)
    start(page)
    tab = page.frame_locator("#lowtide-memory")
    time.sleep(15)
    others(browser, url, looked, "during")
    wait_for_the_end(page)
    tab.get_by_label("Variant").select_option(index=1)
    with page.expect_response("**/memory/variant", timeout=300_000) as switched:
        tab.get_by_role("button", name="Switch to it").click()
    if problem := switched.value.json()["problem"]:
        raise RuntimeError(problem)
    # The line of the ideal is the memory before the run, which has to be read first.
    time.sleep(5)
    page.get_by_role("button", name="New").click()
    start(page)
    wait_for_the_end(page)
    drawn(page)
    page.screenshot(path=folder / "locust.png")
    others(browser, url, looked, "after")
    report = browser.new_page(viewport={"width": 1280, "height": 860})
    report.goto(f"{url}/stats/report")
    report.locator("#lowtide-memory").scroll_into_view_if_needed()
    report.screenshot(path=looked / "tab-report.png", full_page=True)
    print(f"{folder}/locust.png, and for looking {looked}")


def drawn(page: Any) -> None:
    """Wait for the picture in the tab, and until the tab is as high as what is in it."""
    page.frame_locator("#lowtide-memory").locator("svg").wait_for()
    time.sleep(2)


def others(browser: Any, url: str, folder: Path, when: str) -> None:
    """The same page on a wide and on a narrow screen, light and dark."""
    for name, width in (("desktop", 1280), ("phone", 390)):
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": width, "height": 860}, color_scheme=scheme)
            page.goto(f"{url}/?tab=memory")
            drawn(page)
            page.screenshot(path=folder / f"tab-{when}-{name}-{scheme}.png")
            page.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
