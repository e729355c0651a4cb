"""Finds where a fault fits by the structure of the code, and plants it there.

A fault in Python is a pair of snippets: the code as it is and the code that replaces it. File,
identifiers and layout do not matter: each identifier of the snippet stands for one identifier
of the code, and ``...`` for any expression, or for any statements of a block (once in each).
Attributes, names, arguments and keywords are identifiers alike; constants, and the names of
built-in functions, types and their methods, stand for themselves. A fault in SQL, Lua or
TypeScript is a pair of texts, whose white space does not matter.

A fault must fit exactly once, so no change of the code invalidates it silently.
"""

import ast
import builtins
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

PACKAGES: Final = ("listener", "gateway", "shared", "neverstale/client", "client/src")
Language: TypeAlias = Literal["py", "sql", "lua", "ts"]

_IDENTIFIERS: Final = {
    ast.Name: ("id",),
    ast.Attribute: ("attr",),
    ast.arg: ("arg",),
    ast.keyword: ("arg",),
    ast.FunctionDef: ("name",),
    ast.AsyncFunctionDef: ("name",),
    ast.ClassDef: ("name",),
    ast.MatchAs: ("name",),
    ast.MatchStar: ("name",),
    ast.MatchClass: ("kwd_attrs",),
    ast.ExceptHandler: ("name",),
}
_BUILT_IN: Final = frozenset(
    name for kind in (builtins, dict, list, set, str, bytes) for name in dir(kind)
)
_IGNORED: Final = ("ctx", "type_comment", "kind")
_BLOCKS: Final = ("body", "orelse", "finalbody")


class DoesNotFit(Exception):
    """The fault fits nowhere or more than once, or it uses a name that the file lacks."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Code ``before`` is replaced by ``after``."""

    before: str
    after: str
    language: Language = "py"


@dataclass(slots=True)
class _Bound:
    """The code that the snippet's identifiers and ellipses stand for."""

    names: dict[str, str] = field(default_factory=dict)
    wild: list[Sequence[ast.AST]] = field(default_factory=list)

    def name(self, wanted: str, found: str) -> bool:
        if not _BUILT_IN.isdisjoint((wanted, found)):
            return wanted == found
        if wanted in self.names:
            return self.names[wanted] == found
        if found in self.names.values():
            return False
        self.names[wanted] = found
        return True


@dataclass(frozen=True, slots=True)
class _Place:
    path: Path
    nodes: Sequence[ast.AST]
    bound: _Bound


def plant(edit: Edit, tree: Path) -> None:
    """Plant the fault in the packages of a tree. Raises ``DoesNotFit``."""
    path, text = find(edit, tree)
    path.write_text(text)


def find(edit: Edit, tree: Path) -> tuple[Path, str]:
    """Return the file that the fault fits, and its new text. Raises ``DoesNotFit``."""
    texts = {path: path.read_text() for path in _files(tree, edit.language)}
    if edit.language != "py":
        return _find_text(edit, texts)
    pattern = _parse(edit.before)
    places = [
        place for path, text in texts.items() for place in _places(pattern, path, _index(text))
    ]
    if len(places) != 1:
        found = ", ".join(f"{p.path.relative_to(tree)}:{_line(p.nodes[0])}" for p in places)
        raise DoesNotFit(f"{len(places)} places fit ({found or 'none'}):\n{edit.before}")
    (place,) = places
    becoming = [_Filler(place.bound).visit(node) for node in _parse(edit.after)]
    _check_names(becoming, texts[place.path])
    return place.path, _replace(texts[place.path], place.nodes, becoming)


def _files(tree: Path, language: Language) -> list[Path]:
    return sorted(
        path for package in PACKAGES for path in (tree / package).rglob(f"*.{language}")
    )


def _find_text(edit: Edit, texts: Mapping[Path, str]) -> tuple[Path, str]:
    pattern = re.compile(r"\s+".join(map(re.escape, edit.before.split())))
    found = [(path, match) for path, text in texts.items() for match in pattern.finditer(text)]
    if len(found) != 1:
        raise DoesNotFit(f"{len(found)} places fit:\n{edit.before}")
    ((path, match),) = found
    text = texts[path]
    return path, text[: match.start()] + edit.after + text[match.end() :]


@dataclass(frozen=True, slots=True)
class _Index:
    """The replaceable nodes of a file: its expressions and its blocks of statements."""

    expressions: Sequence[ast.expr]
    blocks: Sequence[Sequence[ast.stmt]]


@lru_cache(maxsize=1000)
def _index(text: str) -> _Index:
    nodes = list(ast.walk(ast.parse(text)))
    blocks = [getattr(node, name, None) for node in nodes for name in _BLOCKS]
    return _Index(
        [node for node in nodes if isinstance(node, ast.expr)],
        [block for block in blocks if isinstance(block, list)],
    )


def _parse(snippet: str) -> list[ast.AST]:
    """Parse a snippet into statements, or into one expression."""
    body = ast.parse(textwrap.dedent(snippet)).body
    if len(body) == 1 and isinstance(body[0], ast.Expr) and not _is_call(body[0].value):
        return [body[0].value]
    return list(body)


def _is_call(node: ast.AST) -> bool:
    """Whether an expression can also stand alone as a statement."""
    return isinstance(node, ast.Call | ast.Await | ast.Yield) or _is_wild(node)


def _is_wild(node: ast.AST | None) -> bool:
    node = node.value if isinstance(node, ast.Expr) else node
    return isinstance(node, ast.Constant) and node.value is ...


def _places(pattern: Sequence[ast.AST], path: Path, index: _Index) -> Iterator[_Place]:
    size = len(pattern)
    found: Iterable[Sequence[ast.AST]] = (
        ([node] for node in index.expressions)
        if isinstance(pattern[0], ast.expr)
        else (block[n : n + size] for block in index.blocks for n in range(len(block)))
    )
    for nodes in found:
        if type(nodes[0]) is not type(pattern[0]):
            continue
        bound = _Bound()
        if len(nodes) == size and all(
            _fits(one, node, bound) for one, node in zip(pattern, nodes, strict=True)
        ):
            yield _Place(path, nodes, bound)


def _fits(pattern: ast.AST, node: ast.AST, bound: _Bound) -> bool:
    if _is_wild(pattern):
        bound.wild.append([node])
        return True
    if type(pattern) is not type(node):
        return False
    for name, wanted in ast.iter_fields(pattern):
        found = getattr(node, name)
        if name in _IGNORED:
            continue
        if name in _IDENTIFIERS.get(type(pattern), ()):
            if not _names_fit(wanted, found, bound):
                return False
        elif not _values_fit(wanted, found, bound):
            return False
    return True


def _names_fit(wanted: object, found: object, bound: _Bound) -> bool:
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(bound.name, wanted, found))
    if isinstance(wanted, str) and isinstance(found, str):
        return bound.name(wanted, found)
    return wanted is found is None


def _values_fit(wanted: object, found: object, bound: _Bound) -> bool:
    if isinstance(wanted, ast.AST):
        return isinstance(found, ast.AST) and _fits(wanted, found, bound)
    if not isinstance(wanted, list):
        return type(wanted) is type(found) and wanted == found
    if not isinstance(found, list):
        return False
    gap = next((n for n, one in enumerate(wanted) if _is_wild(one)), None)
    if gap is not None and isinstance(wanted[gap], ast.Expr):
        rest = len(found) - len(wanted) + 1
        if rest < 0:
            return False
        end = gap + rest
        if not _values_fit(wanted[:gap], found[:gap], bound):
            return False
        bound.wild.append(found[gap:end])
        return _values_fit(wanted[gap + 1 :], found[end:], bound)
    return len(wanted) == len(found) and all(
        _values_fit(one, other, bound) for one, other in zip(wanted, found, strict=True)
    )


class _Filler(ast.NodeTransformer):
    """Substitutes the matched code into the replacing snippet."""

    def __init__(self, bound: _Bound) -> None:
        self._names = bound.names
        self._wild = iter(bound.wild)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for name in _IDENTIFIERS.get(type(node), ()):
            value = getattr(node, name)
            if isinstance(value, str):
                setattr(node, name, self._names.get(value, value))
        return super().generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | list[ast.AST]:
        return list(next(self._wild)) if _is_wild(node) else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return next(self._wild)[0] if _is_wild(node) else node


def _check_names(nodes: Sequence[ast.AST], text: str) -> None:
    """Reject a fault that uses an undefined name: it would be caught for that alone."""
    known = _BUILT_IN.union(re.findall(r"\w+", text))
    for node in nodes:
        for one in ast.walk(node):
            for name in _IDENTIFIERS.get(type(one), ()):
                value = getattr(one, name)
                if isinstance(value, str) and value not in known:
                    raise DoesNotFit(f"the fault names {value}, which its file does not know")


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 0))


def _replace(text: str, nodes: Sequence[ast.AST], becoming: Sequence[ast.AST]) -> str:
    first, last = nodes[0], nodes[-1]
    if not isinstance(first, ast.expr | ast.stmt) or not isinstance(last, ast.expr | ast.stmt):
        raise TypeError("only expressions and statements can be replaced")
    lines = text.encode().splitlines(keepends=True)
    start = sum(map(len, lines[: first.lineno - 1])) + first.col_offset
    end = sum(map(len, lines[: (last.end_lineno or 0) - 1])) + (last.end_col_offset or 0)
    if isinstance(first, ast.expr):
        new = "".join(f"({ast.unparse(node)})" for node in becoming)
    else:
        written = "\n".join(map(ast.unparse, becoming)) or "pass"
        new = textwrap.indent(written, " " * first.col_offset).lstrip()
    raw = text.encode()
    return (raw[:start] + new.encode() + raw[end:]).decode()
