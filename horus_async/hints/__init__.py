"""What errors and commands say besides: the way out, in words that work where they are read."""
