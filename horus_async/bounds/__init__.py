"""The most that readers of files take, so that a file of others cannot exhaust a robot or whoever looks at it."""
