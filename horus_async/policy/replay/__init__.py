"""A trace asked of another policy, and the answers compared."""
