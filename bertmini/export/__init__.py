"""Models for other programs: an ONNX graph, a directory for transformers with its card, a page of the hub."""

from bertmini.export.card import model_card
from bertmini.export.directory import export_directory
from bertmini.export.hub import push_to_hub
from bertmini.export.onnx import export_onnx

__all__ = ["export_directory", "export_onnx", "model_card", "push_to_hub"]
