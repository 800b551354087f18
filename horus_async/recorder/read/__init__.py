"""Reading sessions: messages, summaries, checks and comparisons."""
