"""What a user writes: nodes, the time they see, and what happens when one fails."""
