"""What a run is to work on: files, folders and manifests become requests for clips, each with its id."""
