"""How a program looks at a session: topics, the log, parameters, moments; of all of it or of a part."""
