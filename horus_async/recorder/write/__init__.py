"""Writing a session, off the event loop."""
