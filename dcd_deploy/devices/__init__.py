"""Devices to measure on: this machine, boards over ssh, phones over adb, emulated ARM cores."""
