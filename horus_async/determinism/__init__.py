"""Is a run reproducible: a guard that watches it, and a check that runs it several times."""
