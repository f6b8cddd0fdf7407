"""To a verified ONNX file."""
