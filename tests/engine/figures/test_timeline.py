import pytest
from matplotlib.collections import PolyCollection
from PIL import Image

from redwood.engine.figures import timeline
from redwood.engine.figures.timeline import SHOWN_STEPS, plot_timeline
from tests.engine.figures.helpers import caught

PARTS = ("insert", "counts", "plan", "gather", "exchange")


def steps_of(lengths, start=0.0):
    """Steps of these lengths, each with one of all parts at its beginning and a wait at its end."""
    spans = []
    for length in lengths:
        end = start + length
        spans.append(["step", start, end])
        for number, part in enumerate(PARTS):
            spans.append([part, start + number / 10, start + (number + 1) / 10])
        spans.append(["wait", end - 0.1, end])
        start = end
    return spans


@pytest.fixture
def figures(monkeypatch):
    return caught(monkeypatch, timeline)


def drawn(spans, figures):
    plot_timeline(spans, "unused.png")
    return figures[-1].axes[0]


def bars(axes):
    """From where to where the bars of each part reach, and of the steps, which have no label."""
    found = {}
    for collection in axes.collections:
        assert isinstance(collection, PolyCollection)
        label = collection.get_label()
        boxes = [path.get_extents() for path in collection.get_paths()]
        found["step" if label.startswith("_") else label] = [(box.x0, box.x1, box.y0, box.y1) for box in boxes]
    return found


def test_the_last_steps_from_zero_with_what_went_on_meanwhile(figures):
    axes = drawn(steps_of([3, 1, 2, 2, 4, 2], start=50), figures)
    assert axes.get_xlim() == (0, 2 + 2 + 4 + 2)
    found = bars(axes)
    assert found.keys() == {"step", "wait", *PARTS}
    assert [bar[:2] for bar in found["step"]] == [(0, 2), (2, 4), (4, 8), (8, 10)]
    starts = [bar[0] for bar in found["counts"]]
    assert starts == pytest.approx([0.1, 2.1, 4.1, 8.1])
    assert [text.get_text() for text in axes.texts] == [f"step {number}" for number in range(1, SHOWN_STEPS + 1)]


def test_the_background_is_below_the_training(figures):
    found = bars(drawn(steps_of([2, 2]), figures))
    training, waiting = found["step"][0], found["wait"][0]
    assert training[2] <= waiting[2] < waiting[3] < training[3]
    assert all(bar[3] <= training[2] for part in PARTS for bar in found[part])


def test_what_began_before_the_first_step_shown_and_reaches_into_it(figures):
    spans = [*steps_of([1, 1]), ["exchange", -0.5, 0.05], ["plan", -0.5, -0.1], ["gather", 3, 4]]
    found = bars(drawn(spans, figures))
    assert any(start < 0 for start, *_ in found["exchange"])
    assert all(0 <= start < 2 for part in ("plan", "gather") for start, *_ in found[part])


def test_a_pause_between_steps_is_left_out(figures):
    axes = drawn([*steps_of([1, 1, 1]), *steps_of([2, 2], start=500)], figures)
    assert axes.get_xlim() == (0, 4)
    assert len(bars(axes)["step"]) == 2


def test_texts_cover_neither_each_other_nor_a_wait(figures):
    spans = steps_of([0.3, 40, 0.3, 20])
    axes = drawn([*spans, ["wait", 1, 39]], figures)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert [text.get_text() for text in axes.texts] == ["step 2", "step 4"]
    assert boxes[0].x1 < boxes[1].x0
    waits = next(c for c in axes.collections if c.get_label() == "wait")
    top = waits.get_datalim(axes.transData).transformed(axes.transData).y1
    assert min(box.y0 for box in boxes) > top


@pytest.mark.parametrize("spans", [[], [["wait", 0, 1], ["plan", 1, 2]]])
def test_refuses_a_time_line_without_a_whole_step(spans, tmp_path):
    with pytest.raises(ValueError, match="needs at least one whole step"):
        plot_timeline(spans, tmp_path / "unused.png")
    assert not list(tmp_path.iterdir())


def test_a_picture_is_written_in_the_colours_of_its_legend(tmp_path):
    plot_timeline(steps_of([2, 3, 2]), tmp_path / "new" / "timeline.png")
    with Image.open(tmp_path / "new" / "timeline.png") as image:
        assert min(image.size) > 300
        colours = {colour for count, colour in image.convert("RGB").getcolors(2**24) if count > 100}
    for colour in ("#d5d5d5", "#000000", *timeline.COLOURS[: len(PARTS)]):
        assert tuple(bytes.fromhex(colour[1:])) in colours
