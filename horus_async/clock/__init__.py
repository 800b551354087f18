"""Time and chance: the system's clocks, precise waiting, virtual time, and random numbers seeded by the tick."""
