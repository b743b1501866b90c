"""Results that show themselves: as a table with pictures in a notebook, as a figure, and as a data frame.

Tables and pictures are made by the layers above. Their functions are imported when something is shown.
"""

from typing import Any, Literal

from redwood.core.registry import load_object

_VIEWS = "redwood.experiments.report.views"


class Shown:
    """The base of results that a notebook shows."""

    def _repr_html_(self) -> str:
        """The tables, and the pictures as SVG: what a notebook shows."""
        return str(_view("html_of")(self._shown()))

    def __str__(self) -> str:
        """The table of several runs, as the terminal has it; a single run in one line."""
        shown = self._shown()
        return repr(self) if shown is self else str(_view("text_of")(shown))

    def plot(self, name: str = "") -> Any:
        """Draw a picture of the results.

        Args:
            name: The picture, by the name of its file in a run folder, such as `accuracy_matrix`. By default it is the
                main one. Of one run: the accuracy on each task as tasks are learned. Of several: the methods beside
                each other.

        Returns:
            A `matplotlib.figure.Figure`, which a notebook shows and `savefig` writes.

        Raises:
            RedwoodError: If no task was tested, or there is no picture of this name; the message lists all names.
        """
        return _view("figure_of")(self._shown(), name)

    def to_frame(self, per: Literal["run", "task"] = "run") -> Any:
        """Return the results as a data frame.

        Args:
            per: With `"task"`, a line for each test of a task after a phase: setting, method, seed, phase, task, and
                the score under the name of its measure, such as `accuracy`.

        Returns:
            A `pandas.DataFrame`. Of one run: the accuracy matrix, a line for each phase and a column for each task. Of
            several: a line for each run, with setting, method, seed, metrics and costs. Accuracies are fractions in
            [0, 1], where tables show percent. Units of costs: `_s` is seconds, `_bytes` bytes, `training_flops` FLOPs.

        Raises:
            RedwoodError: If pandas is not installed, or `per` is neither.
        """
        return _view("frame_of")(self._shown(), per)

    def _shown(self) -> Any:
        """What the functions of the views take: one run, or a list of pairs."""
        return self


def _view(name: str) -> Any:
    return load_object("view", f"{_VIEWS}:{name}")
