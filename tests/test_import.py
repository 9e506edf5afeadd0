"""`import bertmini` costs what `import torch` costs."""

from __future__ import annotations

import json
import subprocess
import sys

SLOW = {"transformers", "datasets", "sklearn", "scipy", "accelerate", "matplotlib", "pyarrow", "tokenizers"}


def imported_by(code: str) -> set[str]:
    code += "; import json, sys; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_bertmini_imports_torch_and_nothing_slower():
    modules = imported_by("import bertmini")
    assert "torch" in modules
    assert not modules & SLOW
    more = {name for name in modules - imported_by("import torch") if "." not in name}
    assert {name for name in more if not name.startswith("__editable__")} <= {"bertmini", "json"}


def test_every_public_name_can_be_imported():
    imported_by("import bertmini; [getattr(bertmini, name) for name in bertmini.__all__]")
