"""What the stock decoder knows of the picture that it has just decoded, read from its memory."""

DECODER_FIELDS = ("auto", "on", "off")
"""Whether it is read: where it can be, or it must be, or never."""
FIELD_CODECS = frozenset({"h264", "hevc"})
"""Codecs whose decoders are known, by FFmpeg's name."""
