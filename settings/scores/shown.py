"""Results that show themselves: as a table with pictures in a notebook, as a figure, and as a data frame.

Tables and pictures are made by the layers above. Their functions are imported when something is shown.
"""

from typing import Any

from redwood.core.registry import load_object

_VIEWS = "redwood.experiments.report.views"


class Shown:
    """The base of results that a notebook shows."""

    def _repr_html_(self) -> str:
        """The tables, and the pictures as SVG: what a notebook shows."""
        return str(_view("html_of")(self._shown()))

    def plot(self) -> Any:
        """Draw the main picture of the results.

        Returns:
            A `matplotlib.figure.Figure`, which a notebook shows and `savefig` writes. Of one run: the accuracy on each
            task as tasks are learned. Of several: the methods beside each other.

        Raises:
            RedwoodError: If no task was tested.
        """
        return _view("figure_of")(self._shown())

    def to_frame(self) -> Any:
        """Return the results as a data frame.

        Returns:
            A `pandas.DataFrame`. Of one run: the accuracy matrix, a line for each phase and a column for each task. Of
            several: a line for each run, with setting, method, seed, metrics and costs. Accuracies are fractions in
            [0, 1], where tables show percent. Units of costs: `_s` is seconds, `_bytes` bytes, `training_flops` FLOPs.

        Raises:
            RedwoodError: If pandas is not installed.
        """
        return _view("frame_of")(self._shown())

    def _shown(self) -> Any:
        """What the functions of the views take: one run, or a list of pairs."""
        return self


def _view(name: str) -> Any:
    return load_object("view", f"{_VIEWS}:{name}")
