"""Sessions as tables for a database within this process, which can read these tables and nothing else."""
