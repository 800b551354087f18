"""The packed form of messages: objects of described classes as rows of numbers."""
