"""A session in formats that other tools read."""
