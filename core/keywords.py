"""Options of the command line in texts, as the keywords that they are in Python."""

import keyword
import re

_NUMBER = r"-?\d[\w.+-]*(?<![.])"
_TEXT = r"""[^\s;()`'"<>]*[^\s;()`'"<>.,:]"""
_NO_VALUES = "and|or|out|on|alone|for|of|to|in|with|is|from|under|beside"
# An option, and the value behind it: numbers; a text before the end of a clause or another option; or a text with a
# sign in it, such as `class_incremental`. Any other word may be one of the sentence.
_OPTION = re.compile(
    rf"(?<![\w-])--([a-z]\w*)(?![\w-])(?: ({_NUMBER}(?: {_NUMBER})*)(?=[\s;,.)`]|$)"
    rf"| (?!(?:{_NO_VALUES})\b)({_TEXT})(?=[;.,)`]+(?:\s|$)|$| --)"
    rf"| ({_TEXT}[_/.:,=]{_TEXT}))?"
)
_BETWEEN_KEYWORDS = re.compile(r'(?<==)("[^"]*"|\[[^]]*\]|[\w.+-]+) (?=\w+=)')


def as_keywords(text: str) -> str:
    """Write options as keywords.

    Args:
        text: A sentence, or a part of the command line, such as `--lr -1 is too small; add --stream rotated`.

    Returns:
        The same for Python, such as `lr=-1 is too small; add stream="rotated"`.
    """
    told = _OPTION.sub(_as_keyword, text.replace("see --help", "see help(redwood.run)"))
    return _BETWEEN_KEYWORDS.sub(r"\1, ", told)


def _as_keyword(found: re.Match[str]) -> str:
    name, numbers, *texts = found.groups()
    name = f"{name}_" if keyword.iskeyword(name) else name
    text = next(filter(None, texts), None)
    if name == "trust":  # the switch of which most sentences tell
        return "trust=True"
    if numbers:
        return f"{name}=[{', '.join(numbers.split())}]" if " " in numbers else f"{name}={numbers}"
    if text in ("true", "false"):
        return f"{name}={text.title()}"
    return f'{name}="{text}"' if text else name
