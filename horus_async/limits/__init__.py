"""What the system allows a process, and what is done where that is not enough."""
