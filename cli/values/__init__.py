"""Values of messages as people read and type them."""
