"""How a clip's slots are spread over its frames, as plain data: `plan.sample_frames` does it.

Nothing heavy is imported here: the command line reads it, too.
"""

from __future__ import annotations

from dataclasses import dataclass

SPREADS = ("ends", "middle", "jitter", "thrifty", "off-keyframe", "fps")
"""`ends`: evenly from the first frame to the last. `fps`: at a fixed rate, in as many slots as that takes, see
`codec.fixed_rate`. The others: the clip is cut into equal segments, one a slot; a slot
shows the frame in the `middle` of its segment; or any one of it, drawn anew for each clip and seed (`jitter`); or that
for which the fewest pictures must be decoded, see `codec.thrifty`; or the middle one, but for keyframes, see
`codec.off_keyframe`. Of a clip with fewer frames than slots they show
every frame once, and then the last."""


@dataclass(frozen=True)
class Spread:
    """kind: one of `SPREADS`; seed: of `jitter`; fps: slots a second, of `fps`."""

    kind: str = "ends"
    seed: int = 0
    fps: float = 2.0
