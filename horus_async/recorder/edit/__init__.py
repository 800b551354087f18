"""Sessions made of sessions: a part of one, or several as one."""
