"""`llms.txt` (llmstxt.org): what the site holds, as links to Markdown, for readers that are programs.

`python -m docs.generate` writes it. The site has each page as Markdown beside the HTML.
"""

import inspect
import re
from pathlib import Path

from redwood.methods import METHODS
from redwood.settings import SETTINGS, get_setting

DOCS = Path(__file__).parent
FILE = DOCS / "llms.txt"
START = """# redwood

> Continual learning in Python, on PyTorch Lightning: settings (evaluation protocols) form a tree, and a method applies
> to every setting below its target. Runs resume exactly; comparisons, tables and figures come from one command line.

Install by `pip install -e .` (Python 3.11 or later).
One run: `python cli.py --setting class_incremental --method rehearsal`, or `redwood ...` after the installation.
From Python: `ClassIncrementalSetting().apply(Rehearsal())`.
`list --json` prints all settings with the methods that apply.
`--help` beside a setting and a method prints their options.
"""


def text() -> str:
    """The whole file."""
    sections = {"Guide": _guide(), "Tutorials": _tutorials(), "Settings": _settings(), "Methods": _methods()}
    return "\n".join([START, *(f"## {title}\n\n{lines}" for title, lines in sections.items())])


def _guide() -> str:
    """The pages that the table of `docs/pages.md` names."""
    rows = re.findall(r"^\| (\[.*?) \| (.*) \|$", (DOCS / "pages.md").read_text(), re.MULTILINE)
    links = ((link, holds) for names, holds in rows for link in re.findall(r"\[[^]]*\]\([^)#]*\.md\)", names))
    return "".join(f"- {link.replace('(../', '(')}: {holds}\n" for link, holds in links)


def _tutorials() -> str:
    titles = {
        path.stem: re.search(r'"# ([^"\\]*)', path.read_text()) for path in sorted(DOCS.glob("tutorials/*.ipynb"))
    }
    return "".join(f"- [{title[1]}](tutorials/{stem}.md)\n" for stem, title in titles.items() if title)


def _settings() -> str:
    lines = {key: (inspect.getdoc(get_setting(key)) or "").splitlines()[0] for key in SETTINGS}
    return "".join(f"- [{key}](settings/{key}.md): {line}\n" for key, line in lines.items())


def _methods() -> str:
    return "".join(f"- [{key}](methods/{key}.md): {entry.summary}\n" for key, entry in METHODS.items())
