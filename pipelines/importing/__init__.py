"""What others chose of videos as a cache: published indices, folders of pictures; nothing of it is run."""
