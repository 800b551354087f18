"""Recorded nodes that play again, and live ones compared with them."""
