"""Tokens into language models: conversations about clips, batches of them, two-stage fine-tuning, a processor."""
