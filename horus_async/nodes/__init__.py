"""What a user writes: nodes, the time they see, and what follows when one fails."""
