"""The service: videos in over HTTP, tokens, embeddings and pictures out; jobs that outlive a restart; a page."""
