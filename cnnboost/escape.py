"""Names of classes and files, written so that they cannot harm the place where they are shown; counts.

JSON needs none of this: it is exact. HTML pages are escaped by their templates.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls, turns of direction, halves of characters
_JOINERS = "\u200c\u200d"  # parts of words in Persian and in Indian scripts, and of emoji
_FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_MARKDOWN = re.compile(r"[\\`*\[\]<>|~$&#!]|(?<![^\W_])_|_(?![^\W_])")
_NO_CODE = re.compile(r"[`|\\]")


def visible(text: str, keep: str = "") -> str:
    r"""Write control characters, turns of direction and lone surrogates as escapes."""
    if text.isprintable():
        return text
    return "".join(
        char
        if char in keep or char in _JOINERS or unicodedata.category(char) not in _UNSEEN
        else char.encode("unicode_escape").decode()
        for char in text
    )


def counted(n: int, one: str, many: str = "") -> str:
    """Write a number with its noun; `many` of it have an s more, unless it says otherwise."""
    return f"{n:,} {one if n == 1 else many or f'{one}s'}"


def csv_cell(text: str) -> str:
    """Keep a spreadsheet from taking a name for a formula; numbers stay numbers."""
    if not _FORMULA.match(text):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def markdown(text: str) -> str:
    """Write a name as Markdown that shows it as it is, in a table too."""
    return _MARKDOWN.sub(_entity, visible(text))


def markdown_code(text: str) -> str:
    """Write a name as code in Markdown, in a table too."""
    text = visible(text)
    return f"<code>{_MARKDOWN.sub(_entity, text)}</code>" if _NO_CODE.search(text) else f"`{text}`"


def _entity(match: re.Match[str]) -> str:
    return f"&#{ord(match[0])};"


def is_unicode(texts: np.ndarray[Any, Any]) -> bool:
    """Tell whether an array of texts holds characters only: NumPy reads any 32-bit number as one."""
    import numpy as np

    native = np.ascontiguousarray(texts, texts.dtype.newbyteorder("="))
    return not native.nbytes or int(native.reshape(-1).view(np.uint32).max()) <= sys.maxunicode
