"""`report.html`: its size, and what it does in a browser.

- `comparison`: 12 methods under 5 settings with 5 seeds on digits, 300 short runs, or the folders of `--folders`.
- `largest`: 56 methods under 31 settings with 5 seeds: the runs of `comparison` repeated under other names.

Each page is opened in headless Chromium without network, in light and dark, on a screen and on a phone. Needs
`pip install playwright`, and Chromium (`apt-get install chromium`).

Run: python benchmarks/report.py [--folders runs/one runs/two] [--picture docs/reports.png].
Writes benchmarks/results/report.*.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

from common import environment, markdown_table, write
from PIL import Image

from redwood.experiments.report.folders import read_source
from redwood.experiments.report.page import write_report
from redwood.experiments.report.source import Source
from redwood.methods.table import METHODS
from redwood.settings import SETTINGS

ROOT = Path(__file__).resolve().parents[1]
# An online setting has one pass, which others would learn little in.
COMPARISONS = (
    "--setting class_incremental,task_incremental --passes 4",
    "--setting domain_incremental,traditional --passes 4",
    "--setting online_class_incremental",
)
METHODS_COMPARED = "finetune,ewc,si,mas,lwf,rehearsal,er_ace,der,der_pp,agem,gdumb,slda"
OPTIONS = f"--method {METHODS_COMPARED} --dataset digits --nb_tasks 5 --optimizer sgd --lr 0.05 --seeds 5"
LARGEST = (31, 56, 5)  # settings, methods, seeds
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCREENS = {"screen": 1280, "phone": 375, "small phone": 360}

Found = dict[str, Any]


def run_comparisons(folder: Path) -> list[Path]:
    """300 short runs, in three folders."""
    folders = [folder / str(number) for number in range(len(COMPARISONS))]
    for chosen, one in zip(COMPARISONS, folders, strict=True):
        words = f"{chosen} {OPTIONS}".split()
        subprocess.run([sys.executable, ROOT / "cli.py", *words, "--run_dir", str(one)], check=True)
    return folders


def repeated(sources: Sequence[Source]) -> Source:
    """The runs of some folders again and again, under the names of all settings and methods."""
    n_settings, n_methods, n_seeds = LARGEST
    runs = cycle(run for source in sources for run in source.runs)
    pairs = list(product(islice(SETTINGS, n_settings), islice(METHODS, n_methods)))
    made = []
    for (setting, method), seed in product(pairs, range(n_seeds)):
        run = next(runs)
        config = {"setting": setting, "method": method}  # the runs of one pair share their options
        results = replace(run.results, setting=setting, method=method, seed=seed, config=config)
        made.append(replace(run, results=results))
    return Source(Path("largest"), "comparison", "", made, pairs)


def measure(sources: Sequence[Source], path: Path) -> Found:
    """Write a page, and open it."""
    start = time.perf_counter()
    notes = write_report(sources, path)
    found = {
        "runs": sum(len(source.runs) for source in sources),
        "kB": round(path.stat().st_size / 1e3),
        "seconds to write": round(time.perf_counter() - start, 1),
        "left out": notes,
    }
    return found | in_browser(path)


def in_browser(path: Path) -> Found:
    """What a browser makes of a page: messages, requests, widths, and whether the table sorts."""
    from playwright.sync_api import sync_playwright

    messages: list[str] = []
    requests: list[str] = []
    found: Found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for (name, width), scheme in product(SCREENS.items(), ("light", "dark")):
            context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
            page = context.new_page()
            page.on("console", lambda message: messages.append(message.text))
            page.on("pageerror", lambda error: messages.append(str(error)))
            page.on("request", lambda request: requests.append(request.url))
            start = time.perf_counter()
            page.goto(path.as_uri())
            ready = page.evaluate("document.documentElement.dataset.ready === 'true'")
            found[f"{name}, {scheme}"] = {
                "ready": ready,
                "seconds": round(time.perf_counter() - start, 2),
                "scrolls sideways": page.evaluate("document.documentElement.scrollWidth > innerWidth"),
            }
            if (name, scheme) == ("screen", "light"):
                found["sorts"] = sorts(page)
            context.close()
        browser.close()
    return found | {"console": messages, "network": [url for url in requests if not url.startswith(("file:", "data:"))]}


def sorts(page: Any) -> bool:
    """Whether a click on the heading of the scores sorts the table, and another one turns it round."""
    read = "rows => rows.map(row => parseFloat(row.cells[2].textContent)).filter(value => !isNaN(value))"
    orders = []
    for _ in range(2):
        page.click("#table thead th:nth-child(3) button")
        orders.append(page.eval_on_selector_all("#table tbody tr", read))
    return orders[0] == sorted(orders[0], reverse=True) and orders[1] == sorted(orders[1]) and len(orders[0]) > 1


def draw(path: Path, picture: Path) -> None:
    """A picture of the page, light and dark side by side."""
    from playwright.sync_api import sync_playwright

    halves = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for scheme, part in (("light", "map"), ("dark", "curves")):
            page = browser.new_page(viewport={"width": 760, "height": 760}, color_scheme=scheme)
            page.goto(path.as_uri())
            page.evaluate(f"document.documentElement.style.scrollBehavior = 'auto'; location.hash = '{part}'")
            page.wait_for_timeout(300)
            half = picture.with_suffix(f".{scheme}.png")
            page.screenshot(path=half)
            with Image.open(half) as image:
                halves.append(image.convert("RGB"))
            half.unlink()
        browser.close()
    both = Image.new("RGB", (sum(half.width for half in halves), halves[0].height))
    both.paste(halves[0], (0, 0))
    both.paste(halves[1], (halves[0].width, 0))
    both.quantize(256).save(picture, optimize=True)


def describe(found: Found) -> str:
    """The results as a page."""
    rows = []
    for name in ("comparison", "largest"):
        one = found[name]
        screens = [one[f"{screen}, {scheme}"] for screen in SCREENS for scheme in ("light", "dark")]
        rows.append(
            {
                "page": name,
                "runs": one["runs"],
                "kB": one["kB"],
                "s to write": one["seconds to write"],
                "s to open": max(screen["seconds"] for screen in screens),
                "opens": all(screen["ready"] for screen in screens),
                "scrolls sideways": any(screen["scrolls sideways"] for screen in screens),
                "table sorts": one["sorts"],
                "messages on the console": len(one["console"]),
                "requests": len(one["network"]),
            }
        )
    lines = ["# Reports", "", markdown_table(rows), "", f"`comparison`: {found['made of']}.", ""]
    lines += ["Opened in headless Chromium, offline, 1280, 375 and 360 pixels wide, light and dark.", ""]
    lines += ["What the largest page leaves out:", "", *(f"- {note}" for note in found["largest"]["left out"])]
    return "\n".join(lines)


def main() -> None:
    """Make both pages, open them, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", nargs="+", type=Path)
    parser.add_argument("--picture", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sources = [read_source(one) for one in chosen.folders or run_comparisons(folder)]
        found: Found = {"comparison": measure(sources, folder / "comparison.html")}
        if chosen.picture:
            draw(folder / "comparison.html", chosen.picture)
        found["largest"] = measure([repeated(sources)], folder / "largest.html")
    shape = "{} methods, {} settings, {} seeds, real runs on digits"
    counts = [len({getattr(run.results, name) for source in sources for run in source.runs}) for name in _COUNTED]
    found |= {"made of": shape.format(*counts)} | environment()
    write("report", found, describe(found))


_COUNTED = ("method", "setting", "seed")

if __name__ == "__main__":
    main()
