"""Page: numbers as people read them, and a template filled with them; the page needs no other file."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Sequence
from functools import cache, wraps
from typing import TYPE_CHECKING, Any

from cnnboost.errors import DataError
from cnnboost.escape import visible

if TYPE_CHECKING:
    from jinja2 import Environment

_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".svg": "image/svg+xml"}
FIGURE_ENDINGS = tuple(_TYPES)
_NOTHING = "\N{EN DASH}"


def render(template: str, **metadata: Any) -> str:
    """Fill a template of this package; every value is escaped, and a value that is missing is an error."""
    import jinja2

    try:
        return _environment().get_template(template).render(**metadata)
    except jinja2.UndefinedError as error:
        raise DataError(f"a fact that the page needs is missing: {error}") from error


@cache
def _environment() -> Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cnnboost.report"),
        autoescape=True,
        finalize=lambda value: visible(value, keep="\n\t") if type(value) is str else value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "percent": percent,
        "percent2": lambda share: f"{share:.2%}",
        "points": points,
        "points_span": points_span,
        "span": span,
        "number": number,
        "seconds": seconds,
        "short": short,
        "p_value": p_value,
        "thousands": lambda count: f"{count:,}",
    }
    environment.filters |= {name: _given(form) for name, form in filters.items()}
    return environment


def _given(form: Callable[..., str]) -> Callable[..., str]:
    """Let a missing fact fail with its name, where the format would speak of types."""
    import jinja2

    @wraps(form)
    def apply(value: Any, *options: Any) -> str:
        if isinstance(value, jinja2.Undefined):
            str(value)
        return form(value, *options)

    return apply


def data_uri(content: bytes, ending: str) -> str:
    """Return a picture as an address that holds the picture itself."""
    if ending not in _TYPES:
        raise DataError(f"{ending!r} is no picture for a page; give one of {', '.join(_TYPES)}")
    return f"data:{_TYPES[ending]};base64,{base64.b64encode(content).decode('ascii')}"


def aspect(content: bytes) -> float:
    """Return how many times as wide as high a PNG is; 1 for pictures of another kind."""
    # Its first chunk is the header: after its length and name come width and height.
    if not content.startswith(b"\x89PNG") or content[12:16] != b"IHDR" or len(content) < 24:
        return 1.0
    width, height = struct.unpack(">II", content[16:24])
    return width / height if height else 1.0


def paragraphs(text: str) -> list[str]:
    r"""Split plain text at its empty lines."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def percent(share: float) -> str:
    """Return a share in per cent."""
    return f"{share:.1%}"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return _sign(f"{100 * difference:+.1f}")


def points_span(interval: Sequence[float] | None) -> str:
    """Return an interval of differences in percentage points."""
    return _NOTHING if interval is None else " to ".join(points(edge) for edge in interval)


def span(interval: Sequence[float] | None, in_percent: bool = True) -> str:
    """Return an interval."""
    form = percent if in_percent else number
    return _NOTHING if interval is None else " to ".join(form(edge) for edge in interval)


def number(value: float | None) -> str:
    """Return a number with three places after the point."""
    return _NOTHING if value is None else _sign(f"{value:,.3f}")


def seconds(value: float | None) -> str:
    """Return seconds, to tenths below a hundred."""
    return _NOTHING if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def short(value: float | None) -> str:
    """Return a number with three figures that count, and none after the point from 100 on."""
    return _NOTHING if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def p_value(p: float | None) -> str:
    """Return a p value."""
    return _NOTHING if p is None else "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"


def _sign(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")
