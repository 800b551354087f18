"""Files that other tools recorded, as sessions."""
