"""Videos re-encoded so that their bitstream says plainly what moved, by an ffmpeg program."""
