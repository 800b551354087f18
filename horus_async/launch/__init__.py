"""Several programs as one robot: started, watched, recorded and ended together."""
