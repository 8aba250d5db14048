"""The arithmetic of codecsieve: signals in, patch scores and pixels out; no files, no video, no state.

- `reference` holds the definition of every operation in clear numpy.
- `cpu` holds the same functions, by the same names and signatures, in numba: what users run.
- `triton` and `cupy` hold the GPU form of each, for many pictures at once, in whichever language suits it; `gpu`
  puts them together, and `dispatch`, for callers' own arrays, chooses between `cpu` and `gpu` by where they are.
- `rules` holds the modes and the published values of scoring and selecting, as plain data.
- `levels` holds pictures at the sizes that a search needs, `resample` the weights by which pictures are resized.
- `geometry` holds the tables that a picture size fixes, and `camera` the exact solution of a camera fit; both
  are computed on the host and shared by every form of a kernel.

All arithmetic after the signals is integer or fixed point, so every form of a kernel gives the same bits.
"""
