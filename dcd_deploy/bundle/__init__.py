"""Folders that a developer drops into an app: a model, all that it needs, and a sample that checks itself.

    model file → golden tensors, picture and its logits → data files, manifest of their hashes, sample of a platform

The samples stand alone: nothing of this package is needed where they run. They do the same arithmetic as
``runtimes.preprocessing``, so that one limit holds everywhere.
"""
