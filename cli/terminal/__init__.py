"""What somebody at a terminal sees: tables, lines of state, logs, what TAB completes."""
