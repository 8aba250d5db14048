"""Against what others have made of the same videos."""
