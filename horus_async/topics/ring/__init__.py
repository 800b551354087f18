"""One ring in shared memory: its layout, its writer, its readers."""
