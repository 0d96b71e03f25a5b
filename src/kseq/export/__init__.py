"""Models for programs without kseq: TensorFlow SavedModels and ONNX."""

from kseq.export.onnx import export_onnx
from kseq.export.saved_model import export_saved_model

__all__ = ["export_onnx", "export_saved_model"]
