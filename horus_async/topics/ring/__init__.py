"""Rings in shared memory: layout, files, writer, readers."""
