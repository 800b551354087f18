"""What a node offers to others, and how it asks them: parameters, services and actions. All of it rides on topics."""
