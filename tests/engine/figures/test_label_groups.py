"""The picture of scores by group of labels."""

import pytest
from PIL import Image

from redwood.engine.figures.label_groups import plot_label_groups
from redwood.settings.scores.multi_label_results import MultiLabelResults


def results(phases):
    """Runs of so many phases; no label is moderate, and no sample of the first phase has one of the minority."""
    rows = []
    for phase in range(phases):
        scores = {"all": 0.5, "majority": 0.9, "moderate": None, "minority": 0.2 if phase else None}
        rows.append({"tested": dict.fromkeys(("map", "cf1", "of1"), scores), "tasks": []})
    groups = {"majority": [0], "moderate": [], "minority": [1, 2]}
    matrix = [[0.5] * phases] * phases
    return MultiLabelResults(
        setting="class_incremental",
        method="finetune",
        dataset="few",
        seed=0,
        num_phases=phases,
        accuracy_matrix=matrix,
        label_groups=groups,
        label_scores=rows,
    )


@pytest.mark.parametrize("phases", [1, 3])
def test_it_is_drawn_whatever_groups_there_are(phases, tmp_path):
    plot_label_groups(results(phases), tmp_path / "groups.png")
    with Image.open(tmp_path / "groups.png") as image:
        assert image.width > 2 * image.height > 600
