"""Waiting for messages without polling: doorbells, and the tasks that wait at them."""
