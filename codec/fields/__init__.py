"""What the stock decoder knows of the picture that it has just decoded, read from its memory."""
