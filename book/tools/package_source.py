"""The source of a definition as a chapter shows it, docstrings cut to their first line."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

from book.tools.project import PACKAGE, ROOT

# The first parts of names that chapters may show, and the fewest parts that a module of each has.
SHOWN = {PACKAGE.name: 2, "examples": 2, "hubconf": 1}


def definition(name: str) -> tuple[Path, str]:
    """Find a definition by its dotted name, without importing anything.

    Args:
        name: `bertmini.module.Name`, where Name is a class, a function or a constant; or one of its methods.
            What lies beside the package is named alike: `hubconf.Name`, `examples.module.Name`.

    Returns:
        The file that defines it, and its source.

    Raises:
        LookupError: in words for the author, when there is none.
    """
    path, inner = _module_of(name)
    text = path.read_text("utf-8")
    body: list[ast.stmt] = ast.parse(text).body
    node: ast.stmt | None = None
    for part in inner:
        node = next((statement for statement in body if part in _names(statement)), None)
        if isinstance(node, ast.ImportFrom):  # a package that passes on what a module of it defines
            origin = next(alias.name for alias in node.names if part in (alias.asname, alias.name))
            return definition(f"{_absolute(node, path)}.{'.'.join([origin, *inner[1:]])}")
        if node is None:
            raise LookupError(f"no {'.'.join(inner)} in {path.relative_to(ROOT)}")
        body = getattr(node, "body", [])
    assert node is not None
    return path, _cut(text, node)


def _module_of(name: str) -> tuple[Path, list[str]]:
    parts = name.split(".")
    if parts[0] not in SHOWN or len(parts) < SHOWN[parts[0]] + 1:
        raise LookupError(
            f"a package cell names definitions like bertmini.model.attention.attend, not {name!r}"
        )
    for count in range(len(parts) - 1, SHOWN[parts[0]] - 1, -1):
        base = ROOT.joinpath(*parts[:count])
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.exists():
                return path, parts[count:]
    raise LookupError(f"no module of {parts[0]} holds {name!r}")


def _names(statement: ast.stmt) -> set[str | None]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Assign):
        return {target.id for target in statement.targets if isinstance(target, ast.Name)}
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return {statement.target.id}
    if isinstance(statement, ast.ImportFrom):
        return {alias.asname or alias.name for alias in statement.names}
    return set()


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    if not node.level:
        return node.module or ""
    package = path.relative_to(ROOT).parts[: -node.level]
    return ".".join([*package, node.module or ""]).rstrip(".")


def _cut(text: str, node: ast.stmt) -> str:
    """The node's own lines with decorators and comments, every docstring cut to its first line."""
    lines = text.splitlines()
    decorators = getattr(node, "decorator_list", [])
    start = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    for inner in ast.walk(node):
        if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if ast.get_docstring(inner) is None:
            continue
        docstring = inner.body[0]
        first, last = docstring.lineno - 1, docstring.end_lineno or docstring.lineno
        if last - first > 1:
            lines[first] = f'{lines[first].rstrip()}"""'
            lines[first + 1 : last] = [_DROPPED] * (last - first - 1)
    kept = [line for line in lines[start - 1 : node.end_lineno] if line is not _DROPPED]
    return textwrap.dedent("\n".join(kept))


_DROPPED = "\0dropped"
