"""Recordings of which only the last seconds are kept, and sessions made of them when something happens."""
