"""Rings of other processes: finding them, reading them, clearing up after them."""
