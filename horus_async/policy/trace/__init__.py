"""Request traces: written while serving, read and queried later."""
