"""The definition of every operation in clear numpy: slow, plain, and what the other forms must equal bit for bit."""
