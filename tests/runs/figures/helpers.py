"""Pictures, looked at before they are written."""


def caught(monkeypatch, *modules):
    """Figures as `modules` are about to write them, drawn once so that the layout is done."""
    seen = []

    def keep(figure, _):
        figure.draw_without_rendering()
        seen.append(figure)

    for module in modules:
        monkeypatch.setattr(module, "save_figure", keep)
    return seen
