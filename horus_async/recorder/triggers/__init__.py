"""What a recording may be made around, as a user writes it."""
