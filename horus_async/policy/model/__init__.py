"""Policies: how they are loaded, what they are asked, what they answer."""
