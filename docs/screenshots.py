"""The pictures of docs/seeing.md: a real fleet, looked at with a real Chromium.

    python docs/screenshots.py [--folder docs/images]

It runs `flfleet demo --keep`, takes the pictures and stops the fleet again. It needs Chromium (Debian: chromium) and the
development extras.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

FLFLEET = (sys.executable, "-c", "from cli.main import main; main()")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE, DESK = (360, 740), (1100, 800)
#: (file, page, path, size, colours, text that is there once it can be taken)
PICTURES = (
    ("fleet-light", "fleet page", "/", DESK, "light", "Rewards"),
    ("fleet-dark", "fleet page", "/", DESK, "dark", "Rewards"),
    ("fleet-phone", "fleet page", "/", PHONE, "light", "Rewards"),
    ("aggregator-light", "aggregator", "", DESK, "light", "Rounds"),
    ("aggregator-phone", "aggregator", "", PHONE, "dark", "Rounds"),
    ("flower-tasks", "Flower", "/tasks?name=flfleet.train", (1400, 760), "light", "hospital"),
    ("flower-workers", "Flower", "/workers", (1400, 600), "light", "train@"),
)


def main() -> None:
    """Takes every picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "images")
    parser.add_argument("--said", type=Path, help="what a `flfleet demo --keep` that runs already has printed")
    options = parser.parse_args()
    if options.said:
        take(addresses(options.said.read_text()), options.folder)
        return
    with tempfile.TemporaryDirectory(prefix="flfleet-screenshots-") as home:
        try:
            demo = subprocess.run(
                [*FLFLEET, "demo", "--keep", "--home", home], capture_output=True, text=True, check=True
            )
            take(addresses(demo.stderr), options.folder)
        finally:
            subprocess.run([*FLFLEET, "down", "--home", home], check=True)


def addresses(said: str) -> dict[str, str]:
    """The pages that the demo names: name to URL."""
    return dict(re.findall(r"^(aggregator|fleet page|Flower) +(http\S+)$", said, re.MULTILINE))


def take(pages: dict[str, str], folder: Path) -> None:
    """Takes the pictures of these pages."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        for name, page, way, size, colours, text in PICTURES:
            picture(browser, pages[page] + way, folder / f"{name}.png", size, colours, text)
        browser.close()


def picture(browser: Browser, url: str, file: Path, size: tuple[int, int], colours: str, text: str) -> None:
    """One picture of the page from its top, at most three screens of it."""
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=colours)
    page = context.new_page()
    page.goto(url)
    page.get_by_text(text).first.wait_for()
    page.wait_for_timeout(1500)
    whole = min(page.evaluate("document.documentElement.scrollHeight"), 3 * height)
    page.set_viewport_size({"width": width, "height": whole})
    page.wait_for_timeout(300)
    page.screenshot(path=file)
    with Image.open(file) as image:
        # A page has few colours: a third of the bytes.
        image.convert("RGB").quantize(128).save(file, optimize=True)
    context.close()
    sys.stdout.write(f"{file}: {file.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main()
