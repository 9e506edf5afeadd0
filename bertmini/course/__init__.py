"""What a chapter uses beyond the package: set-up, exercise checks, claims, and `use` for the reader's pieces.

Nothing else in bertmini imports this, and nothing here reaches for the network.
"""

from __future__ import annotations

from bertmini.course.exercises import Wrong, check
from bertmini.course.replace import use
from bertmini.course.session import claim, found, on_gpu, pretrained, setup

__all__ = ["Wrong", "check", "claim", "found", "on_gpu", "pretrained", "setup", "use"]
