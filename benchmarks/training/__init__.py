"""A small training that anyone can watch: clips of moving sprites, their cache, concepts, an encoder, its probe."""
