"""Commands that look at running programs: ``top`` and ``log``."""
