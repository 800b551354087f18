"""Which classes messages may be made of, how they are found, and what their fields have to be."""
