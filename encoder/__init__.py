"""The model that reads sparse tokens."""
