"""A page stays small, and says what it leaves out."""

import copy

import pytest

from redwood.experiments.report.content import content_of, rounded
from redwood.experiments.report.thinning import MAX_BYTES, fit, size_of, thin
from redwood.experiments.reporting import read_source
from tests.experiments.report.made import made_comparison, made_results, made_run


@pytest.fixture
def content(tmp_path):
    return content_of([read_source(made_comparison(tmp_path / "all", ["s"], [*"abcdef"], 1))])


def test_thin():
    assert thin([1, 2], 3) == [1, 2]
    assert thin(range(101), 3) == [0, 50, 100]


def test_small_content_is_kept(content):
    assert fit(content) == content


def test_what_is_left_out_is_said(content):
    whole = size_of(content)
    smaller = fit(content, whole - 100)
    assert size_of(smaller) <= whole - 100
    assert len(smaller["notes"]) == 1 and "Online curves" in smaller["notes"][0]
    assert smaller["pairs"][0]["matrix"] == content["pairs"][0]["matrix"]
    least = fit(content, 0)
    assert [pair["metrics"] for pair in least["pairs"]] == [pair["metrics"] for pair in content["pairs"]]
    assert all(pair["matrix"] is None for pair in least["pairs"])


def test_the_best_keep_their_details_longest(content):
    def kept(limit):
        return [pair["loss"] for pair in fit(content, limit)["pairs"] if pair["matrix"]]

    sizes = range(size_of(content), 0, -20)
    some = next(losses for losses in map(kept, sizes) if len(losses) < 6)
    assert sorted(some) == sorted(pair["loss"] for pair in content["pairs"])[:4]


def test_large_matrices_show_some_tasks(tmp_path):
    content = fit(content_of([read_source(made_run(tmp_path / "run", made_results(phases=100)))]))
    (pair,), (setting,) = content["pairs"], content["settings"]
    assert (len(pair["matrix"]), len(pair["matrix"][0])) == (24, 24)
    assert setting["shown"][0][0] == 0 and setting["shown"][1][-1] == 99
    assert len(content["notes"]) == 1


def test_curves_of_tests_are_thinned(content):
    curves = {"mean": [0.5] * 500, "spread": None, "tasks": [[0.25] * 500] * 3}
    tests = {"steps": list(range(500)), "return": curves}
    long = content | {"pairs": [pair | {"tests": tests} for pair in content["pairs"]]}
    thinned = fit(long)["pairs"][0]["tests"]
    assert {len(curve) for curve in (thinned["steps"], thinned["return"]["mean"], *thinned["return"]["tasks"])} == {120}
    assert thinned["return"]["spread"] is None and fit(long, 0)["pairs"][0]["tests"] is None


def test_every_setting_and_every_method_at_once(content):
    """31 settings x 56 methods x 10 tasks with all their details."""
    pair, setting = copy.deepcopy(content["pairs"][0]), copy.deepcopy(content["settings"][0])
    row = [0.12345 + 0.01 * task for task in range(10)]
    pair |= {"matrix": [row] * 10, "curve": row, "spread": row, "lost": row, "online": [list(range(120)), row * 12]}
    pair |= {"slices": row, "objectives": row[:5], "seeds": list(range(5))}
    pairs = [pair | {"setting": s, "method": m, "loss": m / 100} for s in range(31) for m in range(56)]
    large = content | {
        "settings": [setting | {"name": f"setting_{number}"} for number in range(31)],
        "methods": [f"some_method_{number}" for number in range(56)],
        "pairs": pairs,
        "spans": [[s, m, seed, 1.5, 2.5] for s in range(31) for m in range(56) for seed in range(5)],
    }
    fitted = fit(rounded(large))
    assert size_of(fitted) <= MAX_BYTES
    assert any("left out" in note for note in fitted["notes"])
    assert len(fitted["pairs"]) == 31 * 56
