"""Making sessions of what other programs do."""
