"""Parameters, services and actions of nodes."""
