"""What each tick passes through: the native core, or the same in Python."""
