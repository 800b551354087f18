"""What policies answer: rows of actions in all their forms, and the fields beside them."""
