"""Recording what runs, from outside."""
