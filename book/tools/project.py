"""Where things are, and the one address that everything else follows from."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
CHAPTERS = BOOK / "chapters"
NOTEBOOKS = ROOT / "notebooks"
PACKAGE = ROOT / "bertmini"


@cache
def repository() -> str:
    """The repository's address, which stands once, in `_config.yml`."""
    return yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["repository"]["url"].rstrip("/")


def published() -> str:
    """The address of the book that GitHub Pages makes of that repository."""
    owner, name = repository().split("/")[-2:]
    return f"https://{owner.lower()}.github.io/{name}"


def page_address(path: Path) -> str:
    """The published address of a source under the repository; a chapter's page is its notebook's."""
    where = path.relative_to(ROOT).with_suffix(".html").as_posix()
    return f"{published()}/{where.replace('book/chapters/', 'notebooks/')}"


def chapter_sources(numbers: list[str] | None = None) -> list[Path]:
    """The chapters in order, or those whose two-digit numbers are given."""
    sources = sorted(CHAPTERS.glob("[0-9][0-9]_*.md"))
    if not numbers:
        return sources
    wanted = {number.zfill(2) for number in numbers}
    missing = wanted - {source.name[:2] for source in sources}
    if missing:
        raise SystemExit(f"no chapter {', '.join(sorted(missing))} in {CHAPTERS.relative_to(ROOT)}")
    return [source for source in sources if source.name[:2] in wanted]


@cache
def glossary_anchors() -> dict[str, str]:
    """The terms of the glossary, in lower case, with the anchor that Sphinx gives each."""
    text = (BOOK / "glossary.md").read_text("utf-8")
    block = re.search(r"^(:::+|```+)\{glossary\}\n(.*?)^\1", text, re.MULTILINE | re.DOTALL)
    terms = [
        line for line in (block[2] if block else "").splitlines() if line and not line.startswith((" ", ":"))
    ]
    return {term.lower(): "term-" + re.sub(r"[^a-zA-Z0-9._]+", "-", term).strip("-._") for term in terms}
