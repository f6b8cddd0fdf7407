"""The backend for TFLite: maps are (N, H, W, C)."""
