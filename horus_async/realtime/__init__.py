"""A run that is never late for want of the machine: the loop's priority, locked memory, garbage between the ticks."""
