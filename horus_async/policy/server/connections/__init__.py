"""Connections, from the socket to the application: how many, in which protocol, how long, and how each ends."""
