"""Reads sessions, black boxes and traces for a page."""
