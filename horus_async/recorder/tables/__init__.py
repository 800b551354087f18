"""Messages as tables: nested fields as columns, each of the smallest type that holds its values exactly."""
