"""Phones over adb: the user's own ``adb``, the phone's shell, and what measures there."""
