"""What several tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_directory() -> Path:
    """Real texts and labelled sets, where the environment variable BERTMINI_DATA says they are."""
    if "BERTMINI_DATA" not in os.environ:
        pytest.skip("BERTMINI_DATA names no directory of real data")
    return Path(os.environ["BERTMINI_DATA"])
