"""One run: who does what when, and what happens when something goes wrong."""
