import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import rcParams

from redwood.engine.figures.drawing import COLOURS, height_of, looks_of, new_figure, save_figure, style_axes, width_of
from redwood.engine.names import title_name, wrapped


def test_looks_follow_from_the_names_alone():
    names = [f"method {n}" for n in range(40)]
    looks = looks_of(names)
    assert looks == looks_of(reversed(names)) == looks_of(names * 2)
    assert len({(look.colour, look.line, look.marker) for look in looks.values()}) == 40
    assert len({(look.colour, look.hatch) for look in looks.values()}) == 40


def test_a_method_has_one_colour_in_different_comparisons():
    first, second = looks_of(["finetune", "rehearsal", "ewc"]), looks_of(["rehearsal", "joint", "agem"])
    assert first["rehearsal"] == second["rehearsal"]


def test_few_names_have_colours_of_their_own_and_no_hatches():
    looks = looks_of(map(str, range(len(COLOURS))))
    assert {look.colour for look in looks.values()} == set(COLOURS)
    assert {look.hatch for look in looks.values()} == {""}


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("finetune", ["finetune"]),
        ("distributed_online_class_incremental", ["distributed_online_", "class_incremental"]),
        ("ewc+rehearsal+DifferenceTargetPropagation", ["ewc+rehearsal+", "DifferenceTarget", "Propagation"]),
        ("a name of several words here", ["a name of several", "words here"]),
        ("one_indivisiblewordthatistoolong", ["one_", "indivisiblewordthatistoolong"]),
        ("ResNet18_on_CIFAR100", ["ResNet18_on_CIFAR100"]),
        ("__dunder__", ["__dunder__"]),
        ("", [""]),
    ],
)
def test_names_are_never_broken_inside_a_word(name, lines):
    assert wrapped(name).split("\n") == lines
    assert height_of([wrapped(name)]) == len(lines)
    assert width_of([wrapped(name)]) == max(map(len, lines))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ewc", "ewc"),
        ("/home/me/methods.py:Mine", "Mine"),
        ("package.module:Mine", "Mine"),
        ("methods.py:Mine+rehearsal", "Mine+rehearsal"),
        ("room.py:hot,/home/me/room.py:cold", "hot,cold"),
        ("ALE/Pong-v5,ALE/Breakout-v5", "Pong-v5,Breakout-v5"),
        ("/data/series.npz", "series.npz"),
        ("C:\\data\\series.npz", "series.npz"),
        ("continuum:CORe50", "continuum:CORe50"),
        ("drift_regression:gradual", "drift_regression:gradual"),
        ("", ""),
    ],
)
def test_titles_have_no_paths(name, shown):
    assert title_name(name) == shown


class TestFiles:
    def figure(self, points=3):
        figure = new_figure(4, 3)
        axes = figure.add_subplot()
        axes.plot(np.random.default_rng(0).random(points))
        style_axes(axes, "the axis <&>", "y")
        return figure

    def test_a_path_without_a_suffix_is_a_png_and_an_svg(self, tmp_path):
        save_figure(self.figure(), tmp_path / "new" / "curve")
        assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["curve.png", "curve.svg"]
        svg = (tmp_path / "new" / "curve.svg").read_text()
        ElementTree.fromstring(svg)
        assert "the axis &lt;&amp;&gt;" in svg and "<image" not in svg
        save_figure(self.figure(), tmp_path / "paper.pdf")
        pdf = (tmp_path / "paper.pdf").read_bytes()
        assert pdf.startswith(b"%PDF") and b"CreationDate" not in pdf

    def test_equal_figures_make_equal_files_and_others_have_other_ids(self, tmp_path):
        for folder, name in (("one", "a"), ("two", "a"), ("two", "b")):
            save_figure(self.figure(), tmp_path / folder / name)
        for kind in ("png", "svg"):
            assert (tmp_path / "one" / f"a.{kind}").read_bytes() == (tmp_path / "two" / f"a.{kind}").read_bytes()
        clips = [set(re.findall('clipPath id="([^"]+)', (tmp_path / "two" / f"{n}.svg").read_text())) for n in "ab"]
        assert clips[0] and clips[0].isdisjoint(clips[1])

    def test_very_many_points_are_pixels(self, tmp_path):
        save_figure(self.figure(points=100_000), tmp_path / "long")
        svg = (tmp_path / "long.svg").read_text()
        assert "<image" in svg and "the axis" in svg and len(svg) < 200_000

    def test_no_setting_of_matplotlib_is_changed(self, tmp_path):
        before = dict(rcParams)
        save_figure(self.figure(), tmp_path / "curve")
        assert dict(rcParams) == before
