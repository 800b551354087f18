"""Programs ask nodes of other running programs, and runs themselves: both ends of it."""
