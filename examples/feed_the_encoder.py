"""Sparse tokens into a vision transformer: what it takes, and what it gives.

    python examples/feed_the_encoder.py [VIDEO]        # pip install 'codecsieve[encoder]'

The encoder here is small and untrained, so that nothing is downloaded. For the published weights it is
`OneVisionEncoder.from_pretrained(FOLDER_OR_HUB_ID)`; what follows is the same. Clips of different K go into one batch
padded, with a mask: what is padding changes nothing.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import codecsieve as cs
from codecsieve.encoder import EncoderConfig, OneVisionEncoder, pad_clips
from codecsieve.pipelines.demo import carried_videos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?")
    video = parser.parse_args().video or carried_videos()[0]

    torch.manual_seed(0)
    config = EncoderConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
    model = OneVisionEncoder(config).eval()

    clips = []
    for k_keep in (256, 128):
        clip = cs.sieve(video, num_frames=16, k_keep=k_keep)
        clips.append((torch.from_numpy(clip.patches), torch.from_numpy(clip.positions.astype(np.int64))))
    patches, positions, mask = pad_clips(clips)
    print(f"patches {tuple(patches.shape)}, positions {tuple(positions.shape)}, real tokens {mask.sum(1).tolist()}")

    with torch.no_grad():
        out = model(patches=patches, positions=positions, mask=mask)
        alone = model(patches=clips[1][0][None], positions=clips[1][1][None])
    print(f"a token for each patch: {tuple(out.last_hidden_state.shape)}")
    print(f"a vector for each clip: {tuple(out.pooler_output.shape)}")
    gap = (out.pooler_output[1] - alone.pooler_output[0]).abs().max()
    print(f"the second clip alone, without padding, differs by {gap:.0e}")


if __name__ == "__main__":
    main()
