"""``horus-async record find`` and ``record sql``: questions about all sessions."""
