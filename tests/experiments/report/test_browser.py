"""The page in a real browser."""

import re
import shutil

import pytest

from redwood.experiments.report.folders import read_source
from redwood.experiments.report.page import write_report
from redwood.settings.results import RegressionResults
from redwood.settings.rl.outcomes import Evaluations
from redwood.settings.rl.results import ReturnResults
from tests.experiments.report.made import made_comparison, made_results, made_run, made_sweep, write_table

HOSTILE, CLASS = "</script><b>bold</b>", "<b>bold"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
sync_api = pytest.importorskip("playwright.sync_api", reason="needs a browser's driver: pip install playwright")
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="needs Chromium: apt-get install chromium, or playwright install chromium"
)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def show(browser):
    """Opens a page; at the end there was no message on the console, and nothing was loaded."""
    problems, contexts = [], []

    def show(path, width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.append(request.url) if _is_network(request.url) else None)
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.dataset.ready") == "true"
        return page

    yield show
    for context in contexts:
        context.close()
    assert problems == []


def _is_network(url):
    return not url.startswith(("file:", "data:"))


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = made_comparison(tmp_path_factory.mktemp("report") / "all", ["s", "t"], ["a", "b", CLASS], 3)
    for seed in range(3):
        (folder / f"4-seed{seed}" / "results.json").unlink()
    failures = {("t", "b"): f"no room for {HOSTILE}", ("s", "a"): "seed 7: no"}
    write_table(folder, {(s, m): failures.get((s, m), "") for s in "st" for m in ("a", "b", CLASS)})
    path = folder / "report.html"
    write_report([read_source(folder)], path)
    return path


def column(page, number):
    return page.eval_on_selector_all("#table tbody tr", f"rows => rows.map(row => row.cells[{number}]?.textContent)")


def test_the_table_sorts(comparison, show):
    page = show(comparison)
    page.click("#table thead th:nth-child(3) button")
    scores = [float(text.split()[0]) for text in column(page, 2) if "failed:" not in text]
    assert len(scores) == 5 and scores == sorted(scores, reverse=True)
    page.click("#table thead th:nth-child(3) button")
    scores = [float(text.split()[0]) for text in column(page, 2) if "failed:" not in text]
    assert scores == sorted(scores)
    assert column(page, 2)[-1] == f"failed: no room for {HOSTILE}"  # without a score, it stays below
    page.click("#table thead th:nth-child(1) button")
    assert column(page, 0) in ([CLASS, CLASS, "a", "a", "b", "b"], ["a", "a", "b", "b", CLASS, CLASS])
    page.select_option("#filter", "1")
    assert len(column(page, 0)) == 3


def test_names_are_texts(comparison, show):
    page = show(comparison)
    assert page.locator("b:text-is('bold')").count() == 0
    assert CLASS in page.inner_text("#heat")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_the_page_does_not_scroll_sideways(comparison, show, scheme):
    page = show(comparison, width=360, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == {"light": "rgb(253, 253, 251)", "dark": "rgb(21, 24, 27)"}[scheme]


def test_on_a_phone_names_are_not_cut_into_letters(comparison, show):
    page = show(comparison, width=390)
    high = page.eval_on_selector_all(
        "#cost td.first", "cells => cells.map(cell => cell.getBoundingClientRect().height)"
    )
    assert high and max(high) < 60


def test_matrices_have_labels_and_tints_of_the_range_from_zero(tmp_path, show):
    matrix = [[39.0, 0.0], [44.0, 41.0]]
    results = ReturnResults(setting="s", method="m", dataset="d", seed=0, num_phases=2, accuracy_matrix=matrix)
    write_report([read_source(made_run(tmp_path / "run", results))], tmp_path / "page.html")
    page = show(tmp_path / "page.html")
    texts = page.locator("#matrices svg text").all_text_contents()
    assert texts[:6] == ["on task", "0", "1", "after task", "0", "1"]
    shares = re.findall(r"--strong\) (\d+)%", page.inner_html("#matrices svg"))
    assert shares == ["86", "6", "96", "90"], "39 is not far from 44"


def test_tests_inside_phases(tmp_path, show):
    found = Evaluations(steps=[0, 500], curve_return=[[0.0, 1.0]] * 2, curve_std=[[0.0, 0.0]] * 2)
    found.curve_success = [[0.0, 1.0]] * 2
    more = {"num_phases": 2, "accuracy_matrix": [[1.0, 0.0]] * 2, "config": {"steps_per_task": 250}}
    results = ReturnResults(setting="s", method="m", dataset="d", seed=0, evaluations=found, **more)
    write_report([read_source(made_run(tmp_path / "run", results))], tmp_path / "page.html")
    page = show(tmp_path / "page.html")
    for tab in ("return in tests", "success in tests"):
        page.click(f"#curves .tabs button:text-is('{tab}')")
        assert page.locator("#curves svg.chart").count() == 3, "the mean, and two tasks"


def test_the_switch_turns_the_colours(comparison, show):
    page = show(comparison, scheme="light")
    page.click("#theme")
    assert page.evaluate("document.documentElement.classList.contains('dark')")
    page.reload()
    assert page.evaluate("document.documentElement.classList.contains('dark')")


def test_another_setting_and_a_reading(comparison, show):
    page = show(comparison)
    page.select_option("#setting", "1")
    assert page.locator("#curves .chips button").count() == 2  # of three methods, one has failed
    page.locator("#curves svg.chart").hover()
    assert "after task" in page.inner_text("#tip")
    page.locator("#curves .chips button").first.click()
    assert page.locator("#curves .chips button[aria-pressed=false]").count() == 1
    page.locator("#heat td").first.hover()
    assert "s / a" in page.inner_text("#tip")


@pytest.mark.parametrize("kind", [RegressionResults, ReturnResults, None])
def test_single_runs(tmp_path, show, kind):
    matrix = [[-3.5, 1.0, None], [2.0, 7.0, None], [1.0, 1.0, 1.0]]
    if kind is RegressionResults:
        matrix = [[abs(value or 0.0) for value in row] for row in matrix]
    results = (
        made_results(phases=1)
        if kind is None
        else kind(setting="s", method="m", dataset="d", seed=0, num_phases=3, accuracy_matrix=matrix)
    )
    write_report([read_source(made_run(tmp_path / "run", results))], tmp_path / "page.html")
    page = show(tmp_path / "page.html", width=360)
    assert page.locator("#scores .tiles div").count() >= 5
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_asynchronous_rehearsal(tmp_path, show):
    results = made_results()
    spans = [["step", 0.0, 2.0], ["step", 2.0, 4.0], ["gather", 0.5, 1.5], ["wait", 0.0, 0.1]]
    results.cost.rehearsal = {"timeline": spans}
    write_report([read_source(made_run(tmp_path / "run", results))], tmp_path / "page.html")
    page = show(tmp_path / "page.html")
    assert page.locator("#rehearsal-0 svg rect").count() == 4


@pytest.mark.parametrize("width", [360, 1280])
def test_a_sweep(tmp_path, show, width):
    folder = made_sweep(tmp_path / "sweep")
    made_comparison(folder / "best", ["s"], ["m"], 2)
    write_report([read_source(folder)], tmp_path / "page.html")
    page = show(tmp_path / "page.html", width)
    assert page.locator("#sweep-0 svg.chart").count() == 3  # of two options, and of FLOPs
    assert page.locator("#sweep-0 tbody").last.inner_text().splitlines()[0].startswith("1\t60.0")
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_nothing_but_failures(tmp_path, show):
    folder = made_comparison(tmp_path / "all", ["s"], ["a"], 1)
    (folder / "0-seed0" / "results.json").unlink()
    write_table(folder, {("s", "a"): "no room"})
    write_report([read_source(folder)], tmp_path / "page.html")
    assert "failed: no room" in show(tmp_path / "page.html").inner_text("#table")


def test_the_page_prints(comparison, show):
    page = show(comparison, scheme="dark")
    assert page.pdf()[:4] == b"%PDF"
