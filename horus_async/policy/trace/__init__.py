"""Request traces: written while serving, read and searched later."""
