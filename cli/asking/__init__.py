"""Commands that ask nodes of running programs for something."""
