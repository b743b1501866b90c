"""Tables of branches: what they may hold, and the sentences where two of them disagree."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from redwood.branches.modular.library import ModuleLibrary
from redwood.cli import main
from redwood.core import branches
from redwood.core.branches import Branch, MethodEntry, own_branches

Install = Callable[..., None]

SOURCE = """
from dataclasses import dataclass, field
from redwood.core.branches import Branch, Command

@dataclass
class Count:
    \"\"\"Count letters.\"\"\"

    texts: list[str]  # what to count, 100 % of it
    twice: bool = False  # count each letter twice
    weights: tuple[float, float] = (1.0, 2.0)  # two numbers
    total: int = field(default=0, init=False)

    def __call__(self) -> bool:
        print(sum(map(len, self.texts)) * (1 + self.twice), self.weights)
        return "fail" not in self.texts

BRANCH = Branch(commands={"count": Command("letters:Count", "TEXT...", "count letters")})
LIKE_OURS = Branch(commands={"resume": Command("letters:Count", "", "count letters")})
AGAIN = Branch(commands={"count": Command("letters:Other", "", "count others")})
GONE = Branch(commands={"count": Command("letters:Gone", "", "count what is gone")})
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Lay down a package with entry points for branches."""
    (tmp_path / "letters.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)

    def lay_down(name: str, **points: str) -> None:
        info = tmp_path / f"{name}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        lines = "".join(f"{key} = letters:{value}\n" for key, value in points.items())
        (info / "entry_points.txt").write_text(f"[redwood.branches]\n{lines}")
        branches.forget_entry_points()

    yield lay_down
    sys.modules.pop("letters", None)
    monkeypatch.undo()
    branches.forget_entry_points()


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ") and text.count("\n") == 1
    return text


def test_a_package_adds_a_command(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("a", letters="BRANCH")
    assert main(["count", "ab", "cde", "--twice", "true", "--weights", "3", "4"]) == 0
    assert capsys.readouterr().out == "10 (3.0, 4.0)\n"
    assert main(["count", "fail"]) == 1
    capsys.readouterr()
    assert main(["count", "--help"]) == 0
    assert "what to count, 100 % of it" in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert "count letters" in capsys.readouterr().out
    assert "There is no option --thrice for the command count" in error_of(["count", "a", "--thrice", "1"], capsys)


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        ({"letters": "LIKE_OURS"}, "A branch has the command resume, which is redwood's own; rename it"),
        ({"letters": "BRANCH", "others": "AGAIN"}, "has a command count, as another one has; rename it"),
        ({"letters": "GONE"}, "There is no command in letters named 'Gone'"),
    ],
)
def test_commands_that_cannot_be(
    points: dict[str, str], sentence: str, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("a", **points)
    assert sentence in error_of(["count", "a"], capsys)


def test_two_packages_with_one_branch(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("a", letters="BRANCH")
    install("b", letters="BRANCH")
    assert "Two installed packages have a branch letters; rename" in error_of(["list"], capsys)


@pytest.mark.parametrize("table", [{"methods": {"x": "package:Class"}}, {"commands": {"x": ("package:Class", "", "")}}])
def test_entries_have_to_be_entries(table: dict[str, dict[str, object]]) -> None:
    with pytest.raises(TypeError, match=r"x has to be a (MethodEntry|Command), not "):
        Branch(**table)  # type: ignore[arg-type]


def test_our_own_tables_agree() -> None:
    keys = [key for branch in own_branches().values() for key in (*branch.settings, *branch.methods, *branch.commands)]
    assert len(keys) == len(set(keys))
    entry = MethodEntry("package.sub:Class", "continual", "does something")
    assert entry.family == "package" and own_branches()["osaka"].methods["maml"].family == "osaka"


def test_what_is_read_of_a_library_is_json(tmp_path: Path) -> None:
    """Nothing is told beside it, in a process of its own either."""
    ModuleLibrary(tmp_path / "library")
    program = [sys.executable, "-m", "redwood", "modules", str(tmp_path / "library"), "--json"]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"networks": [], "modules": []}
