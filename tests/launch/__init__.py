"""Several programs as one robot."""
