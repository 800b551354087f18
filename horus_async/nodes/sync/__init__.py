"""Messages of several topics that belong together."""
