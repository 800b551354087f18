"""What ``doctor`` examines, where it takes a page of its own."""
