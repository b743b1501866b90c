"""The page as HTML: one file, whatever the runs are called and have measured."""

import json
import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from redwood.branches.acquisition.results import AcquisitionResults
from redwood.engine.figures.drawing import COLOURS, looks_of
from redwood.experiments.report.content import content_of
from redwood.experiments.report.page import render, write_report
from redwood.experiments.reporting import read_source
from redwood.settings.rl.outcomes import Evaluations
from redwood.settings.rl.results import ReturnResults
from redwood.settings.scores.results import RegressionResults, Results
from tests.experiments.report.made import made_comparison, made_results, made_run, write_table

HOSTILE = "</script><b>bold</b><!--'\""
WITHOUT_END = {"meta", "link", "br"}


class Structure(HTMLParser):
    """Elements that are open or were closed in the wrong order, what is loaded, and the texts of some elements."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.texts, self.tags = [], [], {}, []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.links += [values[name] for name in ("src", "href") if name in values]
        if tag not in WITHOUT_END:
            self.open.append((tag, values.get("id")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open:
            key = self.open[-1][1] or self.open[-1][0]
            self.texts[key] = self.texts.get(key, "") + data


def parse(page):
    structure = Structure()
    structure.feed(page)
    structure.close()
    assert structure.open == []
    return structure


def page_of(*folders):
    return render(content_of([read_source(folder) for folder in folders]))


def content_in(page):
    return json.loads(parse(page).texts["content"])


def test_one_file_that_loads_nothing(tmp_path):
    page = page_of(made_comparison(tmp_path / "all", ["s", "t"], ["a", "b"], 2))
    structure = parse(page)
    assert all(link.startswith(("#", "data:")) for link in structure.links)
    addresses = set(re.findall(r"https?://[^\"' ]+", page)) - {"http://www.w3.org/2000/svg"}
    assert addresses == set()
    assert "@import" not in page and "url(" not in page
    assert structure.tags.count("script") == 2


def test_names_are_escaped(tmp_path):
    folder = made_comparison(tmp_path / "all", [f"mine.py:{HOSTILE}"], [f"it.py:{HOSTILE}", "a"], 1, lr=HOSTILE)
    write_table(folder, {(f"mine.py:{HOSTILE}", "a"): HOSTILE})
    page = page_of(folder)
    structure = parse(page)
    assert "b" not in structure.tags
    assert structure.tags.count("script") == 2
    assert HOSTILE in json.dumps(content_in(page), ensure_ascii=False).replace('\\"', '"')


def test_what_is_not_a_number_is_null(tmp_path):
    folder = made_run(tmp_path / "run", made_results(phases=3))
    content = content_of([read_source(folder)])
    content["pairs"][0]["curve"] = [float("nan")]
    with pytest.raises(ValueError, match="JSON"):
        render(content)
    results = made_results(phases=3)
    results.accuracy_matrix[0][2] = None
    matrix = content_in(page_of(made_run(tmp_path / "other", results)))["pairs"][0]["matrix"]
    assert matrix[0][2] is None and matrix[0][0] is not None


def test_means_over_seeds(tmp_path):
    folder = made_comparison(tmp_path / "all", ["s"], ["a"], 3)
    pair = content_in(page_of(folder))["pairs"][0]
    runs = [made_results("s", "a", seed) for seed in range(3)]
    assert pair["objective"][0] == pytest.approx(sum(run.objective for run in runs) / 3, rel=1e-4)
    assert pair["objectives"] == pytest.approx([run.objective for run in runs], rel=1e-4)
    first = sum(run.accuracy_matrix[1][0] for run in runs) / 3
    assert pair["matrix"][1][0] == pytest.approx(first, rel=1e-4)
    lost = sum(run.accuracy_matrix[0][0] - run.accuracy_matrix[1][0] for run in runs) / 3
    assert pair["lost"] == [pytest.approx(lost, rel=1e-3), None]
    assert pair["slices"][0] == pytest.approx(sum(run.slices.accuracy[0] for run in runs) / 3, rel=1e-4)
    assert pair["flops"]["search"] == pytest.approx(sum(run.cost.flops_by_use["search"] for run in runs) / 3, rel=1e-4)


def test_the_front_and_the_tests_are_those_of_the_tables(tmp_path):
    content = content_in(page_of(made_comparison(tmp_path / "all", ["s"], ["a", "b", "c"], 4)))
    best = max(content["pairs"], key=lambda pair: pair["objective"][0])
    assert [pair["mark"] for pair in content["pairs"]].count("best") == 1
    assert best["mark"] == "best" and best["p"] is None
    low, high = best["interval"]
    assert low < best["objective"][0] < high
    assert any(pair["front"] for pair in content["pairs"])


def test_tests_inside_phases(tmp_path):
    sources = []
    for seed, value in enumerate((10.0, 30.0)):
        curves = {"curve_return": [[0.0, value], [value, 50.0]], "curve_success": [[0.0, None], [1.0, None]]}
        found = Evaluations(steps=[0, 500], curve_std=[[0.0, 0.0]] * 2, **curves)
        more = {"num_phases": 2, "accuracy_matrix": [[value, 0.0], [value, 50.0]], "evaluations": found}
        config = {"steps_per_task": 250}
        run = ReturnResults(setting="s", method="m", dataset="d", seed=seed, config=config, **more)
        sources.append(read_source(made_run(tmp_path / str(seed), run)))
    tests = content_of(sources)["pairs"][0]["tests"]
    assert tests["steps"] == [0, 500]
    assert (tests["return"]["mean"], tests["return"]["tasks"]) == ([10, 35], [[0, 20], [20, 50]])
    assert tests["return"]["spread"] == pytest.approx([7.0711, 7.0711])
    assert (tests["success"]["mean"], tests["success"]["tasks"]) == ([0, 1], [[0, 1], [None, None]])


def test_a_method_has_one_colour_in_figures_and_on_the_page(tmp_path):
    content = content_in(page_of(made_comparison(tmp_path / "all", ["s"], ["b", "c", "a"], 1)))
    style = (files("redwood.experiments.report") / "assets" / "page.css").read_text().partition(":root.dark")[0]
    colours = dict(re.findall(r"--c(\d): (#\w+)", style))
    page = {name: colours[str(look)] for name, look in zip(content["methods"], content["looks"], strict=True)}
    assert page == {name: look.colour.lower() for name, look in looks_of(["b", "c", "a"]).items()}
    assert list(colours.values()) == [colour.lower() for colour in COLOURS]


def test_failed_pairs_have_their_reason(tmp_path):
    folder = made_comparison(tmp_path / "all", ["s"], ["a", "b"], 1)
    (folder / "1-seed0" / "results.json").unlink()
    write_table(folder, {("s", "a"): "", ("s", "b"): "no room"})
    failed = content_in(page_of(folder))["pairs"][1]
    assert failed["failure"] == "no room" and "objective" not in failed


def test_nothing_but_failures(tmp_path):
    folder = made_comparison(tmp_path / "all", ["s"], ["a"], 1)
    (folder / "0-seed0" / "results.json").unlink()
    write_table(folder, {("s", "a"): "no room"})
    assert content_in(page_of(folder))["pairs"][0]["failure"] == "no room"


@pytest.mark.parametrize("kind", [Results, RegressionResults, ReturnResults])
def test_every_measure(tmp_path, kind):
    results = kind(setting="s", method="m", dataset="d", seed=0, num_phases=2, accuracy_matrix=[[0.5, 0.1], [0.4, 0.6]])
    content = content_in(page_of(made_run(tmp_path / "run", results)))
    measure = content["settings"][0]["measure"]
    assert (measure["key"], measure["lower"]) == (kind.measure.key, kind.lower_is_better)
    expected = -0.1 if kind is RegressionResults else 0.1
    assert content["pairs"][0]["lost"][0] == pytest.approx(expected)


def test_the_file_is_written_whole(tmp_path):
    folder = made_run(tmp_path / "run", made_results())
    assert write_report([read_source(folder)], tmp_path / "new" / "page.html") == []
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]
    assert parse((tmp_path / "new" / "page.html").read_text()).texts["title"].startswith("s / m")


def test_where_each_phase_trains_on_all_slices_none_is_forgotten(tmp_path):
    results = AcquisitionResults(
        setting="s",
        method="m",
        dataset="digits",
        seed=0,
        num_phases=2,
        accuracy_matrix=[[0.1, 0.2, 0.3], [0.2, 0.3, 0.4]],
        slice_names=list("abc"),
        slice_costs=[1.0] * 3,
        slice_sizes=[[5, 5, 5], [6, 6, 6]],
        slice_losses=[[0.5] * 3] * 2,
        purchases=[[1, 1, 1]],
        spent=[3.0],
        config={"setting": "s", "method": "m", "seed": 0, "rounds": 1},
    )
    (pair,) = content_of([read_source(made_run(tmp_path / "run", results))])["pairs"]
    assert pair["lost"] is None
