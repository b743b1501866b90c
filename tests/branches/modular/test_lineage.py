import itertools
import random

import pytest
from matplotlib.text import Text

from redwood.branches.modular import lineage
from redwood.branches.modular.lineage import plot_lineage
from tests.engine.figures.helpers import caught

FIVE = (["a", "b", "c", "d", "e"], [None, 0, 1, 0, None], ["90.0 %", "", "80.0 %", "", ""], [0, 3, 12, 0, 0])


def chain(n):
    return [f"task {i}" for i in range(n)], [None, *range(n - 1)], ["99.9 %"] * n, [3] * n


def forest(n):
    choice = random.Random(0)
    parents = [None if choice.random() < 0.3 else place for place in range(n - 1)]
    return [f"digits, permuted, {i}" for i in range(n)], [None, *parents], ["50.0 %"] * n, [2] * n


@pytest.fixture
def figures(monkeypatch):
    return caught(monkeypatch, lineage)


def drawn(what, figures):
    plot_lineage(*what, "unused.png")
    return figures[-1].axes[0]


def boxes(axes):
    return [(text.get_text(), Text.get_window_extent(text)) for text in axes.texts]


def test_children_stand_right_of_their_parents_and_below(figures):
    axes = drawn(FIVE, figures)
    nodes = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == "o"]
    assert [round(x / nodes[1][0]) for x, _ in nodes] == [0, 1, 2, 1, 0]
    assert [y for _, y in nodes] == sorted(y for _, y in nodes)
    edges = [(line.get_xdata(), line.get_ydata()) for line in axes.lines if line.get_marker() != "o"]
    ends = [((x[0], y[0]), (x[-1], y[-1])) for x, y in edges]
    assert ends == [(nodes[0], nodes[1]), (nodes[1], nodes[2]), (nodes[0], nodes[3])]
    texts = [text.get_text() for text in axes.texts]
    assert [text for text in texts if text.isdigit()] == ["3", "12", "0"]
    places = [text.get_position()[0] for text in axes.texts if text.get_text().isdigit()]
    assert all(parent[0] < x < child[0] for x, (parent, child) in zip(places, ends, strict=True))
    assert [text for text in texts if not text.isdigit()] == ["a   90.0 %", "b", "c   80.0 %", "d", "e"]
    assert figures[-1].get_suptitle() == "5 networks; on an edge: modules taken over"


@pytest.mark.parametrize("what", [FIVE, chain(1), chain(100), forest(100)], ids=["five", "one", "chain", "forest"])
def test_texts_do_not_cover_each_other_and_lie_in_the_figure(what, figures):
    axes = drawn(what, figures)
    whole = figures[-1].bbox
    for name, box in boxes(axes):
        assert whole.x0 - 1 <= box.x0 and box.x1 <= whole.x1 + 1 and whole.y0 <= box.y0 and box.y1 <= whole.y1, name
    for (name, box), (other_name, other) in itertools.pairwise(sorted(boxes(axes), key=lambda entry: entry[1].y0)):
        width, height = min(box.x1, other.x1) - max(box.x0, other.x0), min(box.y1, other.y1) - max(box.y0, other.y0)
        assert width <= 1 or height <= 1, f"{name!r} covers {other_name!r}"


@pytest.mark.slow
def test_a_deep_tree_stays_narrow(figures):
    drawn(chain(1000), figures)
    assert figures[-1].get_figwidth() < 30


def test_names_of_strangers(figures, tmp_path):
    axes = drawn((["a $x_{ $\nb" * 20], [None], ["$"], [0]), figures)
    (text,) = axes.texts
    assert text.get_text().startswith("a $x_{ $ b") and "…   $" in text.get_text() and len(text.get_text()) < 60


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="no networks"):
        plot_lineage([], [], [], [], "unused.png")
    with pytest.raises(ValueError, match="stands before its parent"):
        plot_lineage(["a", "b"], [1, None], ["", ""], [0, 0], "unused.png")


def test_the_file(tmp_path):
    plot_lineage(*FIVE, tmp_path / "new" / "lineage.svg")
    assert "<svg" in (tmp_path / "new" / "lineage.svg").read_text()
