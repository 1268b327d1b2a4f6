#!/usr/bin/env python3
"""Draw docs/pictures/sandbox.png: the page of the test hub while `meterd demo` runs, as Chromium shows it.

    .venv/bin/python tools/hub_page.py

The page is fetched with the admin token and rendered from a file, so that the token is in nobody's command line.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "pictures" / "sandbox.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = "1100,1500"


def main() -> int:
    """Draw; 1 where the demo did not come so far, 0 also where there is no browser, which is told."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("docs/pictures/sandbox.png is left as it is: no Chromium here (apt install chromium)")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page = folder / "page.html"
        if not _fetch(folder, page):
            return 1
        _draw(browser, page)
    return 0


def _fetch(folder: Path, page: Path) -> bool:
    """Run the demo until its day is confirmed, and keep the page of its hub."""
    demo = [sys.executable, "-u", "-m", "gateway.cli", "demo", "--seconds", "30"]
    with subprocess.Popen(
        demo, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"TMPDIR": str(folder)}
    ) as running:
        address = ""
        for line in running.stdout or ():
            if line.startswith("hub      https://"):
                address = line.split()[1]
            if line.startswith("hub      confirmed"):
                page.write_text(_page(address, next(folder.glob("meterd-demo-*/hub"))))
                running.terminate()
    return page.exists()


def _page(address: str, hub: Path) -> str:
    token = (hub / "admin.token").read_text().strip()
    answer = httpx.get(address, auth=("admin", token), verify=str(hub / "ca.pem"), trust_env=False)
    return answer.raise_for_status().text


def _draw(browser: str, page: Path) -> None:
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={SIZE}"]
    command = [browser, *options, f"--user-data-dir={page.parent}/profile", f"--screenshot={PICTURE}", page.as_uri()]
    subprocess.run(command, check=True, timeout=120, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
