"""Keeping the last messages of a topic for late readers, also after their publisher has ended."""
