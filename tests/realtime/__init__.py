"""Runs in real time proper: permission, priority, memory, garbage."""
