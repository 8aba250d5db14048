"""What a video offers, and pictures of what the sieve keeps of it."""
