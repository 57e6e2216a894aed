"""Damage to what a JSON or TOML document says: values of other types, keys that are missing or doubled."""

from __future__ import annotations

import copy
import json
import math
from random import Random
from typing import Any

from tests.fuzz.damage import damaged

_DEEP = "\ue000deep\ue000"
"""Stands for a value that is too deep for `json.dumps`, and is replaced in the text."""

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 0.5, -0.5, 1e-320, 1e308, math.nan, math.inf, -math.inf, 2**31, 2**63,
    2**64, 10**18, -(10**18), 10**400, "", " ", "0", "x", "nan", "../../x", "/dev/zero", "/", ".", "a\0b",
    "a\nb", "\x1b[31m", "\ud800", "日本語", "<script>alert(1)</script>", "=1+1", "|", "{{ 7 * 7 }}", "%s%n",
    "x" * 300, "x" * 100_000, [], {}, [[]], [None], {"": None}, [1, "a", None], [0] * 1000,
    {"a": {"a": {"a": 1}}}, _DEEP,
)  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, of in value.items():
            found += _places(of, (*path, key))
    elif isinstance(value, list):
        for index, of in enumerate(value[:50]):
            found += _places(of, (*path, index))
    return found


def _near(rng: Random, value: Any) -> Any:
    """Return a value of the same type, so that what looks at types lets it through."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return rng.choice((0, -value, value + 1, value - 1, value * 1000, value / 3, value * 10**12))
    if isinstance(value, str):
        odd = [text for text in ODD if isinstance(text, str)]
        return rng.choice((value[:-1], value + value, value.upper(), value[::-1], *odd[:3]))
    if isinstance(value, list):
        cut = rng.randrange(len(value) + 1)
        return rng.choice(
            (value[:cut], value + value, value[::-1], value[cut:] + value[:cut], [*value, None])
        )
    if isinstance(value, dict):
        return rng.choice((list(value.items()), list(value), dict(reversed(value.items()))))
    return rng.choice(ODD)


def changed_value(rng: Random, document: Any) -> tuple[str, Any]:
    """Return what was done and a copy of the document in which one thing is another."""
    document = copy.deepcopy(document)
    path = rng.choice(_places(document)[1:] or [()])
    if not path or rng.random() < 0.01:
        return "root", rng.choice(ODD)
    *above, last = path
    parent = document
    for step in above:
        parent = parent[step]
    kind = rng.choice(("odd", "odd", "near", "near", "drop", "rename", "swap"))
    if kind == "odd":
        parent[last] = copy.deepcopy(rng.choice(ODD))
    elif kind == "near":
        parent[last] = _near(rng, parent[last])
    elif kind == "drop":
        del parent[last]
    elif kind == "rename" and isinstance(parent, dict):
        parent[rng.choice((f"{last}x", str(last).upper(), "", "\0", "x" * 300))] = parent.pop(last)
    else:
        another = rng.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
        parent[last], parent[another] = parent[another], parent[last]
    return f"{kind} {'.'.join(map(str, path))[:60]}", document


def json_text(document: Any) -> bytes:
    """Write a document as JSON, with the numbers that Python reads and JSON does not know."""
    text = json.dumps(document, indent=1)
    return text.replace(json.dumps(_DEEP), "[" * 3000 + "]" * 3000).encode("utf-8", "surrogatepass")


def damaged_json(rng: Random, content: bytes, other: bytes = b"") -> tuple[str, bytes]:
    """Return what was done and the damaged document: mostly its values, else its bytes."""
    if rng.random() < 0.25:
        return damaged(rng, content, other)
    document = json.loads(content)
    if rng.random() < 0.1:
        return "duplicate key", _doubled(rng, document)
    for _ in range(20):
        how, new = changed_value(rng, document)
        if new != document:
            break
    return how, json_text(new)


def _doubled(rng: Random, document: Any) -> bytes:
    text = json.dumps(document)
    if not isinstance(document, dict) or not document:
        return b"[" + text.encode()
    key = rng.choice(list(document))
    return f"{{{json.dumps(key)}: {json.dumps(rng.choice(ODD[:10]))}, {text[1:-1]}}}".encode()


def toml_text(document: dict[str, Any]) -> str:
    """Write a document as TOML, all tables inline; what is None is left out."""
    lines = [
        f"{json.dumps(str(key))} = {_toml(value)}" for key, value in document.items() if value is not None
    ]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if value == _DEEP and isinstance(value, str):
        return "[" * 3000 + "]" * 3000
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value)
    return "{}" if value is None else repr(value)
