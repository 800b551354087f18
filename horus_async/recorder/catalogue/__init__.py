"""What all sessions of a folder hold, in short, so that a question about them all need not open each.

A derived cache: whatever becomes of it, nothing is lost, and what it says is what the sessions say.
"""
