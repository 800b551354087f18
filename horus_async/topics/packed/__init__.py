"""The packed form: objects of described classes as rows of numbers."""
