"""How costs grow with the number of nodes, topics, bytes, subscribers and hours: ``python -m benchmarks --curves``."""
