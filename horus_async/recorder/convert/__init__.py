"""Sessions to other formats, and back."""
