"""The fenced blocks of the pages, and what the comments above them say; commands in tables of redwood's, too.

Comments in front of a block:

    <!-- not run: REASON -->                    the block is not run; commands in it are checked all the same
    <!-- not run where `TEXT`: REASON -->       commands that hold this text are not run, but checked
    <!-- before: ... -->                        Python that a reader has in mind, such as imports; it runs first
"""

import ast
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMENTS = r"(?:^<!-- (?:not run|before)\b(?:(?!-->).)*-->\n+)*"
FENCE = re.compile(rf"({COMMENTS})^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run(?: where `([^`]*)`)?: (.*?) -->", re.DOTALL)
BEFORE = re.compile(r"<!-- before:\n(.*?)-->", re.DOTALL)
CLI = "python cli.py "
IN_TABLE = re.compile(rf"`({CLI}[^`]*)`")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: Its page, from the root of the repository.
        line: The line of the page that it starts in.
        language: What stands behind the fence.
        text: What it holds.
        before: Python that runs first.
        reason: Why the whole block is not run; None if it is.
        exceptions: For texts of commands that are not run: why.
    """

    page: str
    line: int
    language: str
    text: str
    before: str = ""
    reason: str | None = None
    exceptions: dict[str, str] = field(default_factory=dict)


def is_twin(block: Block) -> bool:
    """True if a block says in Python what commands of its page say: calls of `redwood.run` and `redwood.compare`."""
    return block.language == "python" and bool(calls(block)) and not block.before


def calls(block: Block) -> list[str]:
    """The calls of such a block; none of another block."""
    statements = [one for one in ast.parse(block.text).body if ast.unparse(one) != "import redwood"]
    texts = [ast.unparse(one) for one in statements]
    return texts if all(text.startswith(("redwood.run(", "redwood.compare(")) for text in texts) else []


@dataclass(frozen=True)
class Command:
    """A command of a `bash` block.

    Attributes:
        where: Page and line of its block.
        words: The command, split as a shell would.
        reason: Why it is not run; None if it is.
    """

    where: str
    words: list[str]
    reason: str | None


def blocks(path: Path) -> list[Block]:
    """The blocks of a page."""
    page, text = path.relative_to(ROOT).as_posix(), path.read_text()
    found = []
    for match in FENCE.finditer(text):
        comments, language, content = match.groups()
        reasons = dict(NOT_RUN.findall(comments))
        before = "".join(BEFORE.findall(comments))
        line = text[: match.start(2)].count("\n") + 1
        found.append(Block(page, line, language, content, before, reasons.pop("", None), reasons))
    return found + _commands_in_tables(page, text)


def _commands_in_tables(page: str, text: str) -> list[Block]:
    """A block for each command of the tables whose last column is `redwood`."""
    found, header = [], ""
    for number, row in enumerate(text.splitlines(), 1):
        header = (header or row) if row.startswith("|") else ""
        if header.endswith("| redwood |"):
            found += [Block(page, number, "bash", command) for command in IN_TABLE.findall(row)]
    return found


def commands(block: Block) -> list[Command]:
    """The commands of a block, without comments; `&&` and a backslash at the end of a line are understood."""
    lines = block.text.replace("\\\n", " ").splitlines()
    found = []
    for line in (part for whole in lines for part in whole.split(" && ")):
        reasons = [why for text, why in block.exceptions.items() if text in line]
        words = shlex.split(line, comments=True)
        if words:
            found.append(Command(f"{block.page}:{block.line}", words, block.reason or next(iter(reasons), None)))
    return found


ALL = [block for path in PAGES for block in blocks(path)]
COMMANDS = [command for block in ALL if block.language == "bash" for command in commands(block)]
