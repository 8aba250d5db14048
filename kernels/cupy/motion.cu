// The motion of a batch of slots measured: medians, lengths, values at a rank, sums for the camera's fit, and the
// histogram of a residual. Definitions in `reference.motion` and `reference.energy`; cameras in `kernels.camera`.
#define LENGTH_TOP ((1 << 20) - 1)
#define CAMERA_BITS 16
#define MOMENTS 12
#define LEVELS 256
#define LANES 32
#define THREADS 256

// Values below 1 << 2 * BIN_BITS are ranked, by their high bits and then by their low ones.
#define BIN_BITS 10
#define BINS (1 << BIN_BITS)
#define GROUP 32

// Neighbours are often equal: in counts of their own, one increment need not wait for the last.
#define COPIES 4

// The value at a 0-based rank of those among value(0) .. value(count - 1) that are not negative; the largest that
// there may be where there are not so many. For a whole block of THREADS threads, all of which are told.
template <class Values>
__device__ i32 value_at_rank(const Values& value, i32 count, i64 rank) {
  __shared__ i32 counts[BINS][COPIES];
  __shared__ i32 bins[BINS], groups[BINS / GROUP];
  __shared__ i32 found;
  __shared__ i64 found_rank;
  const i32 thread = threadIdx.x;
  i32 known = 0;  // the bits of the result that are known, as a number of their own
  for (i32 shift = BIN_BITS; shift >= 0; shift -= BIN_BITS) {
    for (i32 i = thread; i < BINS * COPIES; i += THREADS) counts[i / COPIES][i % COPIES] = 0;
    __syncthreads();
    for (i32 i = thread; i < count; i += THREADS) {
      const i32 v = value(i);
      if (v >> (shift + BIN_BITS) == known) atomicAdd(&counts[(v >> shift) & (BINS - 1)][thread % COPIES], 1);
    }
    __syncthreads();
    for (i32 bin = thread; bin < BINS; bin += THREADS) {
      bins[bin] = 0;
      for (i32 copy = 0; copy < COPIES; copy++) bins[bin] += counts[bin][copy];
    }
    __syncthreads();
    if (thread < BINS / GROUP) {
      groups[thread] = 0;
      // Each thread begins at another bin, so that no two read from one bank of memory. Unrolled no further, for the
      // sake of registers.
#pragma unroll 4
      for (i32 k = 0; k < GROUP; k++) groups[thread] += bins[thread * GROUP + (thread + k) % GROUP];
    }
    __syncthreads();
    if (thread == 0) {
      i32 group = 0, bin = 0;
      while (group < BINS / GROUP - 1 && rank >= groups[group]) rank -= groups[group++];
      while (bin < GROUP - 1 && rank >= bins[group * GROUP + bin]) rank -= bins[group * GROUP + bin++];
      found = group * GROUP + bin;
      found_rank = rank;
    }
    __syncthreads();
    known = known << BIN_BITS | found;
    rank = found_rank;
  }
  return known;
}

// Block (slot, component) makes one row of the slot's camera: that of the lower median, `unit` to a quarter-pel.
extern "C" __global__ void medians(const i16* __restrict__ motion, i64 cells, i64 unit,
                                   i64* __restrict__ cameras) {
  const i64 slot = blockIdx.x, component = blockIdx.y;
  const i16* first = motion + 2 * slot * cells + component;
  const i32 median = value_at_rank([&](i32 i) { return first[2 * i] + 32768; }, cells, (cells - 1) / 2) - 32768;
  if (threadIdx.x < 3) cameras[(2 * slot + component) * 3 + threadIdx.x] = threadIdx.x ? 0 : median * unit;
}

// Block (slot): the length at the slot's rank.
extern "C" __global__ void lengths_at_ranks(const i32* __restrict__ lengths, i64 cells, const i64* ranks,
                                            i32* __restrict__ found) {
  const i64 slot = blockIdx.x;
  const i32* first = lengths + slot * cells;
  const i32 length = value_at_rank([&](i32 i) { return first[i]; }, cells, ranks[slot]);
  if (threadIdx.x == 0) found[slot] = length;
}

// One component of a cell's motion less its camera's, 1/4096 px, clipped where only the longest lengths are.
__device__ i64 left_over(i64 motion, i64 units, const i64* camera, i64 x, i64 y) {
  const i64 moved = (camera[0] + camera[1] * x + camera[2] * y + (1 << (CAMERA_BITS - 1))) >> CAMERA_BITS;
  const i64 left = units * motion - moved;
  return min(left < 0 ? -left : left, (i64)LENGTH_TOP + 1);
}

// Block (slot, chunk), a thread a cell.
extern "C" __global__ void lengths_without_cameras(const i16* motion, const i64* cameras, i64 height, i64 width,
                                                   i64 units, i32* lengths) {
  const i32 i = blockIdx.y * blockDim.x + threadIdx.x;
  if (i >= height * width) return;
  const i64 slot = blockIdx.x, at = slot * height * width + i;
  const i64 x = 2 * (i % (i32)width) - (width - 1), y = 2 * (i / (i32)width) - (height - 1);
  const i64 u = left_over(motion[2 * at], units, cameras + slot * 6, x, y);
  const i64 v = left_over(motion[2 * at + 1], units, cameras + slot * 6 + 3, x, y);
  // Below 2^52 the floor of the float64 square root is the integer square root.
  lengths[at] = min((i32)__dsqrt_rn((double)(u * u + v * v)), LENGTH_TOP);
}

// Block (slot) of THREADS: the sums over the cells whose error is not negative and within the slot's limit.
extern "C" __global__ void camera_moments(const i16* motion, const i32* errors, const i32* limits, i64 height,
                                          i64 width, i64* moments) {
  __shared__ i64 sums[MOMENTS][THREADS];
  const i32 slot = blockIdx.x, thread = threadIdx.x, cells = height * width;
  for (i32 k = 0; k < MOMENTS; k++) sums[k][thread] = 0;
  for (i32 i = thread; i < cells; i += THREADS) {
    const i64 at = (i64)slot * cells + i;
    if (errors[at] < 0 || errors[at] > limits[slot]) continue;
    const i64 x = 2 * (i % (i32)width) - (width - 1), y = 2 * (i / (i32)width) - (height - 1);
    const i64 u = motion[2 * at], v = motion[2 * at + 1];
    const i64 terms[MOMENTS] = {1, x, y, x * x, x * y, y * y, u, x * u, y * u, v, x * v, y * v};
    for (i32 k = 0; k < MOMENTS; k++) sums[k][thread] += terms[k];
  }
  for (i32 half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread < half) {
      for (i32 k = 0; k < MOMENTS; k++) sums[k][thread] += sums[k][thread + half];
    }
  }
  __syncthreads();
  if (thread < MOMENTS) moments[slot * MOMENTS + thread] = sums[thread][0];
}

// Block (slot, chunk) of LEVELS threads adds `chunk` pixels of the slot to its histogram. Each lane of a warp counts
// in a copy of its own, in a bank of its own: most residuals are small, and lanes would wait for one another.
extern "C" __global__ void residual_histograms(const u8* residual, i64 pixels, i64 chunk, i32* histograms) {
  __shared__ i32 counts[LEVELS][LANES];
  const i64 slot = blockIdx.x, begin = blockIdx.y * chunk, end = min(begin + chunk, pixels);
  const i32 level = threadIdx.x, lane = threadIdx.x % LANES;
  for (i32 k = 0; k < LANES; k++) counts[level][(lane + k) % LANES] = 0;
  __syncthreads();
  for (i64 i = begin + threadIdx.x; i < end; i += LEVELS) atomicAdd(&counts[residual[slot * pixels + i]][lane], 1);
  __syncthreads();
  i32 count = 0;
  for (i32 k = 0; k < LANES; k++) count += counts[level][(lane + k) % LANES];
  if (count) atomicAdd(&histograms[slot * LEVELS + level], count);
}
