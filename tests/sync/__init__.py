"""Tests of ``Node.sync``."""
