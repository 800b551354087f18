"""What of a session is replayed: which topics under which names, what was sent once, which time is empty."""
