"""Policies: how one is loaded, what it is asked, what it answers."""
