"""What runs on a device: it keeps what was sent by its content, says what the device is, and lets the worker measure.

Standard library, numpy and the runtime; Python 3.9 or later. ``devices.bundle`` packs it, with the worker and all that
the worker imports, into one file.
"""
