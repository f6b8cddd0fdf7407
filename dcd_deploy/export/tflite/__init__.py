"""To a verified TFLite file."""
