"""Sets: what several programs recorded under one name."""
