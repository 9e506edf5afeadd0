"""Settings of `pytest --nbval`: here, since a plain pytest without nbval would not know them in pyproject."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "nbval"):
        config.option.nbval_current_env = True
        config.option.nbval_sanitize_with = str(Path(__file__).parent / "notebooks" / "nbval.cfg")
