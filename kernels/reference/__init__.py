"""The definition of every operation in clear numpy: what every other form must equal bit for bit."""
