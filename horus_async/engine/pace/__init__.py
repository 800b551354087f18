"""How a run moves through time: real or virtual."""
