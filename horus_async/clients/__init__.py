"""A program that is no node asks nodes of running programs: parameters, services and actions."""
