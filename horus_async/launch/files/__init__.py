"""What launch files say, and what becomes of it: command lines and units."""
