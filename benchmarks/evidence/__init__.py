"""Whether the selection helps: what docs/evidence.md stands on."""
