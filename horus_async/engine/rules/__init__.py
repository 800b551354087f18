"""What a run goes by, as plain integers and tables: when who is due, in which order, and what follows a failure."""
