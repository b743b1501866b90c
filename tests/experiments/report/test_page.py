"""The page as HTML: one file, whatever the runs are called and have measured."""

import base64
import os
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from redwood.engine.figures.drawing import looks_of
from redwood.engine.figures.plots import draw_run
from redwood.experiments.report import content as content_module
from redwood.experiments.report.content import content_of
from redwood.experiments.report.page import render, write_report
from redwood.experiments.reporting import read_source
from redwood.settings.rl.results import ReturnResults
from redwood.settings.scores.results import RegressionResults, Results
from tests.experiments.report.made import made_comparison, made_results, made_run, made_sweep, write_table

HOSTILE = "</script><b>bold</b><!--'\""
WITHOUT_END = {"meta", "link", "img"}
IMAGE = "data:image/svg+xml;base64,"


class Structure(HTMLParser):
    """Elements that are open or were closed in the wrong order, what is loaded, and all texts and tags."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.texts, self.tags, self.styles = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.links += [values[name] for name in ("src", "href") if name in values]
        self.styles += [values["style"]] if "style" in values else []
        if tag not in WITHOUT_END:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())


def parse(page):
    structure = Structure()
    structure.feed(page)
    structure.close()
    assert structure.open == []
    return structure


def page_of(*folders):
    return render(content_of([read_source(folder) for folder in folders]))


def results_of(*folders):
    """The cells of the table of results, by heading, and its notes."""
    (table,) = content_of([read_source(folder) for folder in folders]).parts[0].tables
    return [dict(zip(table.columns, line, strict=False)) for line in table.lines]


def figures_in(page):
    """The figures of a page, as SVG."""
    return [base64.b64decode(link.removeprefix(IMAGE)).decode() for link in parse(page).links if link.startswith(IMAGE)]


def drawn(folder, results):
    made_run(folder, results)
    draw_run(results, folder)
    return folder


def test_one_file_that_loads_nothing(tmp_path):
    page = page_of(made_comparison(tmp_path / "all", ["s", "t"], ["a", "b"], 2))
    structure = parse(page)
    assert all(link.startswith(("#", "data:")) for link in structure.links)
    assert "://" not in page and "@import" not in page and "url(" not in page
    assert "default-src 'none'; img-src data:" in page
    assert structure.tags.count("script") == 1
    assert len(figures_in(page)) == 3, "the map, and the courses under each setting"


def test_the_page_of_a_run_has_the_figures_that_the_run_has_drawn(tmp_path):
    folder = drawn(tmp_path / "run", made_results(phases=3))
    found = figures_in(page_of(folder))
    names = ["accuracy_curve", "accuracy_matrix", "cost_curve"]
    assert found == [(folder / f"{name}.svg").read_text() for name in names]
    for svg in found:
        ElementTree.fromstring(svg)
        assert "<text" in svg and "<metadata" not in svg
        assert set(re.findall(r"https?://[^\"' ]+", svg)) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
            "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd",
        }
    texts = parse(page_of(folder)).texts
    assert "average incremental accuracy" in texts and "wall time" in texts


def test_figures_that_a_run_has_not_drawn_are_drawn_for_the_page(tmp_path):
    results = made_results("class_incremental", "ewc", 0)
    folder = made_run(tmp_path / "run", results)
    names = [figure.name for figure in _figures(folder)]
    assert "accuracy curve" in names and not any(folder.glob("*.svg"))
    draw_run(results, folder)
    assert [figure.name for figure in _figures(folder)] == names
    for path in folder.glob("*.svg"):
        path.unlink()
    results.accuracy_matrix = [[None] * len(row) for row in results.accuracy_matrix]
    results.save(folder / "results.json")
    assert _figures(folder) == []


def _figures(folder):
    return [figure for part in content_of([read_source(folder)]).parts for figure in part.figures]


def test_equal_results_make_an_equal_page(tmp_path, monkeypatch):
    pages = []
    for parent in ("one", "two"):
        (tmp_path / parent).mkdir()
        monkeypatch.chdir(tmp_path / parent)
        folder = drawn(tmp_path / parent / "run", made_results(phases=3)).relative_to(tmp_path / parent)
        pages.append(page_of(folder))
    assert pages[0] == pages[1]


def test_names_are_escaped(tmp_path):
    folder = made_comparison(tmp_path / "all", [f"mine.py:{HOSTILE}"], [f"it.py:{HOSTILE}", "a"], 1, lr=HOSTILE)
    write_table(folder, {(f"mine.py:{HOSTILE}", "a"): HOSTILE})
    page = page_of(folder)
    structure = parse(page)
    assert "b" not in structure.tags
    assert structure.tags.count("script") == 1
    assert any(HOSTILE in text for text in structure.texts)
    for svg in figures_in(page):
        ElementTree.fromstring(svg)
        assert "<b>" not in svg


def test_a_script_in_the_svg_of_a_stranger_stays_inside_an_image(tmp_path):
    folder = made_run(tmp_path / "run", made_results())
    script = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    (folder / "mine.svg").write_text(script)
    page = page_of(folder)
    assert figures_in(page) == [script]
    assert "alert" not in page and parse(page).tags.count("script") == 1 and "svg" not in parse(page).tags


def test_what_is_no_figure_is_left_out(tmp_path):
    folder = made_run(tmp_path / "run", made_results())
    os.mkfifo(folder / "pipe.svg")
    (folder / "folder.svg").mkdir()
    (folder / "large.svg").write_bytes(b"x" * content_module.MAX_BYTES)
    assert [figure.name for figure in _figures(folder)] == ["accuracy curve", "accuracy matrix", "cost curve"]


def test_means_over_seeds(tmp_path):
    folder = made_comparison(tmp_path / "all", ["s"], ["a"], 3)
    (line,) = results_of(folder)
    runs = [made_results("s", "a", seed) for seed in range(3)]
    assert line["accuracy (%)"].key == pytest.approx(sum(run.objective for run in runs) / 3)
    assert re.fullmatch(r"\d+\.\d ± \d+\.\d", line["accuracy (%)"].text)
    assert line["FLOPs"].key == pytest.approx(sum(run.cost.total_flops for run in runs) / 3)
    assert line["runs"].text == "3"


def test_the_front_and_the_tests_are_those_of_the_tables(tmp_path):
    lines = results_of(made_comparison(tmp_path / "all", ["s"], ["a", "b", "c"], 4))
    scores = [line["accuracy (%)"].key for line in lines]
    assert scores == sorted(scores, reverse=True)
    assert [line["accuracy (%)"].style for line in lines] == ["best", "", ""]
    assert lines[0]["beside the best"].text == "best"
    low, high = map(float, lines[0]["95 % interval"].text.split(" to "))
    assert low < 100 * scores[0] < high
    assert any("†" in line["FLOPs"].text for line in lines)
    (table,) = content_of([read_source(tmp_path / "all")]).parts[0].tables
    assert table.notes[-1] == "† no method is better in both score and FLOPs"
    assert not any(mark in note for mark in "▲△" for note in table.notes), "no cell has these"


def test_a_method_has_one_colour_in_figures_and_on_the_page(tmp_path):
    folder = made_comparison(tmp_path / "all", ["s", "t"], ["b", "c", "a"], 1)
    looks = {name: look.colour for name, look in looks_of(["b", "c", "a"]).items()}
    lines = results_of(folder)
    assert {line["method"].text: line["method"].colour for line in lines} == looks
    page = page_of(folder)
    assert {style.removeprefix("border-left: 6px solid ") for style in parse(page).styles} == set(looks.values())
    for svg in figures_in(page):
        assert all(colour.lower() in svg for colour in looks.values())


def test_failed_pairs_have_their_reason(tmp_path):
    folder = made_comparison(tmp_path / "all", ["s"], ["a", "b"], 1)
    (folder / "1-seed0" / "results.json").unlink()
    write_table(folder, {("s", "a"): "", ("s", "b"): "no room"})
    assert [cell.text for cell in results_of(folder)[1].values()] == ["b", "failed: no room"]
    assert "1 without results" in parse(page_of(folder)).texts


def test_nothing_but_failures(tmp_path):
    folder = made_comparison(tmp_path / "all", ["s", "t"], ["a"], 1)
    for number in range(2):
        (folder / f"{number}-seed0" / "results.json").unlink()
    write_table(folder, {("s", "a"): "no room", ("t", "a"): ""})
    page = page_of(folder)
    assert "failed: no room" in page and "not run yet" in page and figures_in(page) == []


@pytest.mark.parametrize("kind", [Results, RegressionResults, ReturnResults])
def test_every_measure(tmp_path, kind):
    results = kind(setting="s", method="m", dataset="d", seed=0, num_phases=2, accuracy_matrix=[[0.5, 0.1], [0.4, 0.6]])
    folders = [made_run(tmp_path / "one", made_results("t")), made_run(tmp_path / "two", results)]
    texts = parse(page_of(folders[1])).texts
    assert any(text.lower() == f"average {kind.measure.name}".lower() for text in texts)
    tables = content_of([read_source(folder) for folder in folders]).parts[0].tables
    assert len(tables) == (1 if kind is Results else 2), "a table for each measure"


def test_what_was_not_tested_has_a_dash(tmp_path):
    """Such runs have no score to draw, either."""
    folders = []
    for seed in range(2):
        results = made_results(seed=seed)
        results.accuracy_matrix = [[None, None], [None, None]]
        folders.append(made_run(tmp_path / str(seed), results))
    (line,) = results_of(*folders)
    assert (line["accuracy (%)"].text, line["accuracy (%)"].key) == ("\N{EN DASH}", None)
    page = page_of(*folders)
    assert figures_in(page) == [] and "nan" not in page


def test_figures_of_runs_lie_below_the_comparison_as_far_as_there_is_room(tmp_path, monkeypatch):
    folder = made_comparison(tmp_path / "all", ["s"], ["a", "b", "c"], 2)
    for run in folder.glob("*-seed?"):
        (run / "accuracy_curve.svg").write_text(f"<svg>{run.name}{'x' * 30_000}</svg>")
    assert re.findall(r"<svg>(\S-seed\d)", "".join(figures_in(page_of(folder)))) == ["0-seed0", "1-seed0", "2-seed0"]
    shown = sum(map(len, re.findall(r"data:image[^\"]*", page_of(folder))))
    monkeypatch.setattr(content_module, "MAX_BYTES", shown - 10)
    content = content_of([read_source(folder)])
    best = results_of(folder)[0]["method"].text
    names = [name for name, _ in content.parts[-1].folded]
    assert len(names) == 2 and f"s / {best}, seed 0" in names
    assert content.notes == ["The figures of 1 pairs or settings have no room on this page; see their folders."]


def test_the_parts_of_a_sweep(tmp_path):
    folder = made_sweep(tmp_path / "sweep")
    made_comparison(folder / "best", ["s"], ["m"], 2)
    (folder / "sweep.svg").write_text("<svg>trials</svg>")
    page = page_of(folder)
    assert "<svg>trials</svg>" in figures_in(page)
    assert [text for text in parse(page).texts if text in ("Results", "Comparison", "Tuning")][:3] == [
        "Results",
        "Comparison",
        "Tuning",
    ]


def test_the_file_is_written_whole(tmp_path):
    folder = made_run(tmp_path / "run", made_results())
    draw_run(made_results(), folder)
    assert write_report([read_source(folder)], tmp_path / "new" / "page.html") == []
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]
    assert "s / m · redwood" in parse((tmp_path / "new" / "page.html").read_text()).texts
