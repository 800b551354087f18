"""Questions about all recordings and black boxes: which runs had this happen, and where."""
