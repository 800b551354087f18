"""How a policy is asked: where it runs, how many calls at once, and whose state it holds."""
