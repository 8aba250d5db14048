"""Two published ways to prune the tokens of a video that need no training, written from their papers.

Both see tokens (or pixels) of all frames, and give indices of what they keep, ascending, frame * M + token. The papers
state a ratio; here a budget is met exactly, so that all that are compared keep as much.
"""

from __future__ import annotations

import numpy as np

TEMPERATURE = 0.01
"""Tau of VidCom2, section 3.3."""


def evs_pixels(pictures: np.ndarray, patch: int, budget: int) -> np.ndarray:
    """Efficient Video Sampling (arXiv 2510.14624), on pixels: uint8 [T, 3, H, W] -> int64 [budget].

    Its section on token selection in RGB: the dissimilarity of a patch is the L1 norm of its difference to the same
    patch of the frame before; the first frame is kept whole; of the others what exceeds the q-th percentile of all
    dissimilarities of the clip. Here that percentile is the one that leaves `budget`; the smaller index counts first
    where two are alike.
    """
    slots, channels, height, width = pictures.shape
    difference = np.abs(np.diff(pictures.astype(np.int16), axis=0))
    blocks = difference.reshape(slots - 1, channels, height // patch, patch, width // patch, patch)
    return _first_and_most_changed(blocks.sum(axis=(1, 3, 5), dtype=np.int64).reshape(slots - 1, -1), budget)


def evs_tokens(tokens: np.ndarray, budget: int) -> np.ndarray:
    """The same on tokens [T, M, D], as engines that serve it have it: dissimilarity is 1 - cosine."""
    return _first_and_most_changed(1 - cosine(tokens[1:], tokens[:-1]), budget)


def _first_and_most_changed(change: np.ndarray, budget: int) -> np.ndarray:
    """change: [T - 1, M] -> the M tokens of the first frame, and the most changed of the others."""
    tokens = change.shape[1]
    most = np.argsort(-change.ravel(), kind="stable")[: max(budget - tokens, 0)]
    return np.concatenate([np.arange(min(tokens, budget)), np.sort(most) + tokens])


def vidcom2(tokens: np.ndarray, budget: int) -> np.ndarray:
    """Video Compression Commander (arXiv 2505.14454), sections 3.3 and 3.4: tokens [T, M, D] -> int64 [budget].

    A token's uniqueness is less the cosine to the mean of all tokens (equations 3 and 4); a frame's, u_t, the mean of
    its tokens'. A frame gets the part R * (1 + softmax(u / tau)_t - 1 / T) of its tokens (5, 6), and keeps those of
    highest uniqueness in the video and, by the cosine to the frame's own mean, in the frame, summed (7 to 10). Whole
    numbers of tokens by largest remainders, of which the paper says nothing; never more than a frame has.
    """
    slots, count, _ = tokens.shape
    tokens = tokens.astype(np.float64)
    in_video = -cosine(tokens, tokens.mean(axis=(0, 1), keepdims=True))
    in_frame = -cosine(tokens, tokens.mean(axis=1, keepdims=True))
    frames = in_video.mean(axis=1)
    weight = np.exp((frames - frames.max()) / TEMPERATURE)
    weight /= weight.sum() + 1e-8
    shares = whole_shares(budget * (1 + weight - 1 / slots), budget, count)
    order = np.argsort(-(in_video + in_frame), axis=1, kind="stable")
    kept = [slot * count + np.sort(order[slot, :share]) for slot, share in enumerate(shares)]
    return np.concatenate(kept)


def whole_shares(weights: np.ndarray, total: int, most: int) -> np.ndarray:
    """Whole numbers in proportion to `weights` that sum up to `total`, none above `most`, by largest remainders."""
    wanted = np.minimum(weights / weights.sum() * total, most)
    shares = np.floor(wanted).astype(np.int64)
    for index in np.argsort(-(wanted - shares), kind="stable"):
        shares[index] += int(shares.sum() < total and shares[index] < most)
    while shares.sum() < total:  # what full ones left over, to those that have most of the others
        room = np.flatnonzero(shares < most)
        shares[room[np.argmax(weights[room] - shares[room])]] += 1
    return shares


def cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of vectors along the last axis; 0 with a vector that is 0."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return (one * other).sum(axis=-1) / np.maximum(lengths, 1e-12)
