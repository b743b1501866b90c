"""Draw the house: packages as layers, with their files, and who imports whom, read off the source."""

import ast
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import matplotlib.pyplot as plt

ROOT = Path(__file__).parent.parent
LAYERS = ("cli", "experiments", "branches", "methods", "engine", "settings", "buffers", "core")

Arrows = dict[str, set[str]]


def house() -> str:
    """The diagram of the layers and the table of all folders."""
    return f"{diagram()}\n{folders()}"


def diagram() -> str:
    """The layers with their numbers of files, as Mermaid. An arrow that follows from two others is left out."""
    above, late = imports()
    lines = [f'    {layer}["{_label(layer)}"]' for layer in LAYERS]
    lines += [f"    {layer} --> {other}" for layer in LAYERS for other in _direct(layer, above, above)]
    lines += [f"    {layer} -.-> {other}" for layer in LAYERS for other in _direct(layer, above, late)]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```", ""])


def drawn() -> bytes:
    """The same diagram as SVG, for the site: Mermaid would have to be loaded from elsewhere."""
    above, late = imports()
    figure, axes = plt.subplots(figsize=(6, 5))
    heights = {layer: float(len(LAYERS) - number) for number, layer in enumerate(LAYERS)}
    places = {layer: (0.3, height) for layer, height in heights.items()}
    places["buffers"] = (0.75, (heights["engine"] + heights["settings"]) / 2)
    frame = {"boxstyle": "round", "fc": "white", "ec": "grey"}
    texts = {
        layer: axes.annotate(_label(layer), place, ha="center", va="center", bbox=frame, color="black")
        for layer, place in places.items()
    }
    boxes = {layer: text.get_bbox_patch() for layer, text in texts.items()}
    for kind, style in ((above, "-"), (late, ":")):
        for layer, other in [(start, end) for start in LAYERS for end in _direct(start, above, kind)]:
            curve = f"arc3,rad={0.4 if heights[other] > heights[layer] else 0}"
            arrow = {"arrowstyle": "->", "linestyle": style, "connectionstyle": curve, "color": "grey"}
            ends = {"patchA": boxes[layer], "patchB": boxes[other], "shrinkA": 2, "shrinkB": 2}
            axes.annotate("", places[other], places[layer], arrowprops=arrow | ends)
    axes.set(xlim=(0, 1), ylim=(0.5, len(LAYERS) + 0.5))
    axes.axis("off")
    file = io.BytesIO()
    figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return file.getvalue()


def folders() -> str:
    """The table of all folders."""
    above, _ = imports()
    lines = ["| folder | files | what it holds | imports |", "| --- | --- | --- | --- |"]
    for layer in LAYERS[1:]:
        names = ", ".join(f"`{other}`" for other in _sorted(above[layer]))
        for folder in [ROOT / layer, *sorted(path.parent for path in (ROOT / layer).glob("*/__init__.py"))]:
            where = folder.relative_to(ROOT).as_posix()
            lines.append(f"| `{where}/` | {len(list(folder.glob('*.py')))} | {_headline(folder)} | {names} |")
            names = ""
    return "\n".join([*lines, ""])


def imports() -> tuple[Arrows, Arrows]:
    """Which layers each layer imports at the top of its files, and which inside functions."""
    above: Arrows = {layer: set() for layer in LAYERS}
    late: Arrows = {layer: set() for layer in LAYERS}
    for layer in LAYERS:
        for path in _files(layer):
            tree = ast.parse(path.read_text())
            top = set(_imported(tree.body))
            above[layer] |= top - {layer}
            late[layer] |= set(_imported(ast.walk(tree))) - top - {layer}
    return above, {layer: late[layer] - above[layer] for layer in LAYERS}


def late_imports() -> str:
    """The table of all imports inside functions, by file."""
    lines = ["| file | imports inside functions |", "| --- | --- |"]
    for layer in LAYERS[1:]:
        for path in _files(layer):
            functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
            names = {name for function in functions for node in ast.walk(function) for name in _modules(node)}
            if names:
                lines.append(
                    f"| `{path.relative_to(ROOT).as_posix()}` | {', '.join(sorted(set(map(_shown, names))))} |"
                )
    return "\n".join([*lines, ""])


def _shown(module: str) -> str:
    return f"`{module if module.startswith('redwood.') else module.split('.')[0]}`"


def _files(layer: str) -> list[Path]:
    single = ROOT / f"{layer}.py"
    return [single] if single.exists() else sorted((ROOT / layer).rglob("*.py"))


def _imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        names = [name.split(".")[1] for name in _modules(node) if name.startswith("redwood.")]
        yield from (name for name in names if name in LAYERS)


def _modules(node: ast.AST) -> list[str]:
    """The modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module == "redwood":
        return [f"redwood.{alias.name}" for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def _direct(layer: str, above: Arrows, kind: Arrows) -> list[str]:
    return _sorted(kind[layer] - {far for near in kind[layer] for far in _reached(near, above)})


def _reached(layer: str, above: Arrows) -> set[str]:
    return above[layer].union(*(_reached(other, above) for other in above[layer]))


def _sorted(layers: set[str]) -> list[str]:
    return sorted(layers, key=LAYERS.index)


def _label(layer: str) -> str:
    n = len(_files(layer))
    return f"{layer}.py" if (ROOT / f"{layer}.py").exists() else f"{layer}/ ({n} files)"


def _headline(folder: Path) -> str:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    return text.split("\n\n")[0].splitlines()[0].rstrip(".") if text else ""
