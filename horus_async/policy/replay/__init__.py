"""A trace put to another policy, and the answers compared."""
