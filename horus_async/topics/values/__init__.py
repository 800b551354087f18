"""What messages consist of: classes, arrays, and the bytes they become."""
