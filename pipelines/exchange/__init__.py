"""A cache's clips in the formats of others: WebDataset, Hugging Face datasets, npz, Lance."""
