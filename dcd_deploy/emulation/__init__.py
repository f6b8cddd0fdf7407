"""ARM cores without an ARM device: the files run by the real aarch64 runtimes under QEMU, checked and counted.

What can be known so is whether a file computes the right thing on a core, and what it makes the core do: instructions,
bytes, and the misses of a modelled cache. Milliseconds cannot; nothing here measures time.
"""
