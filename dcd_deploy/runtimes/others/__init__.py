"""Runtimes that are not ours, each a module beside this one: its version, and how it opens and runs an ONNX file.

Their packages clash, so each runs in a process and an environment of its own (``process``, ``worker``).
"""
