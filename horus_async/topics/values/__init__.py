"""What messages are made of: classes, arrays, and the bytes they become."""
