"""Pictures, looked at before they are written."""

from types import ModuleType

import pytest
from matplotlib.figure import Figure


def caught(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> list[Figure]:
    """Figures as `modules` are about to write them, drawn once so that the layout is done."""
    seen: list[Figure] = []

    def keep(figure: Figure, _: object) -> None:
        figure.draw_without_rendering()
        seen.append(figure)

    for module in modules:
        monkeypatch.setattr(module, "save_figure", keep)
    return seen
