"""What trainings share: processes that work as one, what they leave on disk, and a frozen encoder's tokens."""
