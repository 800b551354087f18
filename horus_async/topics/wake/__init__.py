"""Waiting for messages without polling: doorbells, and who sleeps at them."""
