"""Traces as a LeRobotDataset v3.0: episodes of frames at a fixed rate, their images, tasks and statistics."""
