"""Look into one video: what it offers the sieve, and which signals would be used and why."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from codecsieve.codec.clip import in_true_order
from codecsieve.codec.decode import decode_pictures
from codecsieve.codec.fields import FIELD_CODECS
from codecsieve.codec.fields.proof import fields_off
from codecsieve.codec.packets import open_source
from codecsieve.codec.plan import plan_gops, sample_frames
from codecsieve.codec.search import with_previous
from codecsieve.codec.signals import MOTION_CODECS, choose_signals
from codecsieve.codec.source import PacketSource
from codecsieve.codec.upright import upright_size
from codecsieve.errors import VideoError

READ = "read"
CODEC_NAMES = {"h264": "H.264", "hevc": "HEVC"}


@dataclass(frozen=True)
class Description:
    """What a video offers, as `codecsieve describe` prints it."""

    path: str
    container: str
    codec: str
    profile: str
    pixel_format: str
    width: int
    """Of the upright picture."""
    height: int
    rotation: int
    """Degrees clockwise by which it is turned for display."""
    mirrored: bool
    """Whether right and left change places after that."""
    fps: float
    seconds: float
    frames: int
    gops: int
    longest_gop: int
    """In packets."""
    open_gops: int
    """GOPs with pictures shown before their keyframe."""
    droppable: int
    """Packets whose picture no other refers to."""
    reference_frames: int | None
    """How many reference pictures the stream may use at once; H.264 only."""
    interlaced: bool | None
    """Whether the stream may be coded as fields; H.264 only."""
    order: str
    """What tells the order of display: `timestamps`, or the `decoder`, for which everything must be decoded."""
    signals: str
    """What `--signals auto` uses."""
    why: str
    decoder_fields: str
    """`read` where exact signals come of what the decoder keeps in memory, or why they do not."""
    packets_for_clip: int
    """Packets sent to the decoder for the whole file at `num_frames` slots."""
    num_frames: int


def describe(path: str | os.PathLike[str], num_frames: int = 64) -> Description:
    """State what a file offers. Raises VideoError where it cannot be used."""
    return in_true_order(lambda believe: _describe(os.fspath(path), num_frames, believe))


def _describe(path: str, num_frames: int, believe: bool) -> Description:
    with open_source(path, believe) as source:
        facts = source.facts
        fields = _fields(facts.codec)
        signals = choose_signals(facts, "auto", fields == READ)
        droppable = leading = 0
        for index in range(source.gops):
            gop = source.read(index)
            droppable += int(gop.droppable.sum())
            leading += gop.leading and source.ordered
        wanted = np.unique(sample_frames(source, num_frames).frame_ids)
        if signals == "search":
            wanted = with_previous(wanted)
        packets = sum(len(plan.feed) for plan in plan_gops(source, wanted))
        picture = next(decode_pictures(source, wanted[:1], motion=False), None)
        if picture is None:
            raise VideoError(f"{facts.path}: no picture could be decoded; the file is damaged or cut short")
        height, width = upright_size(picture)
        return Description(
            path=facts.path,
            container=facts.container,
            codec=facts.codec,
            profile=facts.profile,
            pixel_format=facts.pixel_format,
            width=width,
            height=height,
            rotation=picture.layout.orientation.rotation,
            mirrored=picture.layout.orientation.mirrored,
            fps=facts.fps,
            seconds=facts.seconds,
            frames=source.frames,
            gops=source.gops,
            longest_gop=int(np.diff(source.starts).max()),
            open_gops=leading,
            droppable=droppable,
            reference_frames=facts.sequence.reference_frames if facts.sequence else None,
            interlaced=not facts.sequence.frame_macroblocks_only if facts.sequence else None,
            order=source.order,
            signals=signals,
            why=_why(source, signals, fields == READ),
            decoder_fields=fields,
            packets_for_clip=packets,
            num_frames=num_frames,
        )


def _fields(codec: str) -> str:
    """Whether the decoder's fields are read of a codec, or why not."""
    if codec not in FIELD_CODECS:
        return f"not known of {codec}"
    return fields_off("auto") or READ


def _why(source: PacketSource, signals: str, fields: bool) -> str:
    codec = source.facts.codec
    if signals == "bitstream" and fields:
        return f"{CODEC_NAMES[codec]}'s own motion and exact residual, by what its decoder keeps in memory"
    if signals == "search":
        reason = f"FFmpeg exports no motion for {codec}" if codec not in MOTION_CODECS else "over 12 bits a sample"
        return f"{reason}: block matching instead (transcode to H.264 for the codec's own motion)"
    if codec != "h264":
        return f"{codec}'s own motion; residual by bilinear prediction"
    if source.facts.sequence and not source.facts.sequence.frame_macroblocks_only:
        return "H.264's own motion; residual exact but in blocks coded as fields"
    return "H.264's own motion and exact residual"
