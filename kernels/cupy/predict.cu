// Motion records of 16x16 blocks on grids of 8x8 blocks and of cells, and what motion compensation misses of a batch of
// pictures. Definitions in `reference.predict`.
#define BLOCK 8
#define CELL 4
#define LIST_0 1
#define LIST_1 2
#define SIX_TAP 6
#define CANDIDATES 2

// A block's samples, 2 before and 3 after in each axis.
#define WINDOW (BLOCK + 5)
#define SAMPLES (WINDOW * WINDOW)
#define PIXELS (BLOCK * BLOCK)

// Block (picture, chunk), a thread an 8x8 block of the 2 * rows x 2 * columns that the records have.
extern "C" __global__ void statistics_vectors(const i16* mv0, const i16* mv1, const u8* inter, i64 rows, i64 columns,
                                              i16* vectors, u8* lists) {
  const i32 i = blockIdx.y * blockDim.x + threadIdx.x, wide = 2 * columns;
  if (i >= 2 * rows * wide) return;
  const i64 at = blockIdx.x * 2 * rows * wide + i;
  const i64 record = (blockIdx.x * rows + i / wide / 2) * columns + i % wide / 2;
  const i16 mine[4] = {mv0[2 * record], mv0[2 * record + 1], mv1[2 * record], mv1[2 * record + 1]};
  const bool first = mine[0] || mine[1], second = mine[2] || mine[3];
  const i32 used = !inter[record] ? 0 : (first || !second ? LIST_0 : 0) | (second ? LIST_1 : 0);
  lists[at] = used;
  for (i32 k = 0; k < 4; k++) vectors[4 * at + k] = used ? mine[k] : 0;
}

// Block (picture, chunk), a thread a cell of the shown picture.
extern "C" __global__ void cell_motions(const i16* vectors, const u8* lists, i64 rows, i64 columns, i64 top, i64 left,
                                        i64 cells_high, i64 cells_wide, i16* motion) {
  const i32 i = blockIdx.y * blockDim.x + threadIdx.x;
  if (i >= cells_high * cells_wide) return;
  const i64 row = (top + i / (i32)cells_wide * CELL) / BLOCK, column = (left + i % (i32)cells_wide * CELL) / BLOCK;
  const i64 block = (blockIdx.x * rows + row) * columns + column, at = blockIdx.x * cells_high * cells_wide + i;
  const bool used = lists[block] & LIST_0;
  for (i32 k = 0; k < 2; k++) motion[2 * at + k] = used ? vectors[4 * block + k] : 0;
}

__device__ i32 clamp(i32 value, i32 most) { return min(max(value, 0), most); }

__device__ i32 six_tap(const i32* at, i32 step) {
  return at[0] - 5 * at[step] + 20 * at[2 * step] + 20 * at[3 * step] - 5 * at[4 * step] + at[5 * step];
}

// Pixel (y, x) of the block at fraction (dx, dy), by ITU-T H.264 8.4.2.2.1, whose names these are: b between columns,
// h between rows, j between both.
__device__ i32 interpolate_six_tap(const i32* window, i32 y, i32 x, i32 dx, i32 dy, i32 peak) {
  const i32 row = y + (dy == 3), column = x + (dx == 3);
  const i32 whole = window[(row + 2) * WINDOW + column + 2];
  if (dx == 0 && dy == 0) return whole;
  const i32 b = clamp((six_tap(window + (row + 2) * WINDOW + x, 1) + 16) >> 5, peak);
  const i32 h = clamp((six_tap(window + y * WINDOW + column + 2, WINDOW) + 16) >> 5, peak);
  if (dy == 0) return dx == 2 ? b : (b + whole + 1) >> 1;
  if (dx == 0) return dy == 2 ? h : (h + whole + 1) >> 1;
  if (dx != 2 && dy != 2) return (b + h + 1) >> 1;
  i32 between[6];
  for (i32 k = 0; k < 6; k++) between[k] = six_tap(window + (y + k) * WINDOW + x, 1);
  const i32 j = clamp((six_tap(between, 1) + 512) >> 10, peak);
  if (dx == 2 && dy == 2) return j;
  return (j + (dx == 2 ? b : h) + 1) >> 1;
}

__device__ i32 interpolate_bilinear(const i32* window, i32 y, i32 x, i32 dx, i32 dy) {
  const i32* at = window + (y + 2) * WINDOW + x + 2;
  return ((4 - dx) * ((4 - dy) * at[0] + dy * at[WINDOW]) + dx * ((4 - dy) * at[1] + dy * at[WINDOW + 1]) + 8) >> 4;
}

// Block (column, row, picture) of PIXELS threads: an 8x8 block of the coded picture, from the first shown one on; a
// thread a pixel. Pictures have `rows` x `columns` samples of 1 or 2 bytes; the first `width` of a row are picture.
extern "C" __global__ void prediction_residuals(const void* luma, i64 rows, i64 columns, i64 width, i64 bytes,
                                                i64 shift, const i64* current, const i64* past, const i64* future,
                                                const i16* vectors, const u8* lists, i64 blocks_high, i64 blocks_wide,
                                                i64 top, i64 left, i64 shown_height, i64 shown_width, i64 taps,
                                                i64 bit_depth, u8* residual) {
  __shared__ i32 window[SAMPLES];
  __shared__ i32 errors[CANDIDATES];
  const i64 slot = blockIdx.z, block_row = top / BLOCK + blockIdx.y, block_column = left / BLOCK + blockIdx.x;
  const i32 thread = threadIdx.x, y = thread / BLOCK, x = thread % BLOCK;
  const i32 block_y = block_row * BLOCK, block_x = block_column * BLOCK;
  const i64 block = (slot * blocks_high + block_row) * blocks_wide + block_column;
  const i32 used = lists[block] & (future[slot] < 0 ? LIST_0 : LIST_0 | LIST_1);

  auto sample = [&](i64 number, i32 at_y, i32 at_x) -> i32 {
    const i64 at = (number * rows + at_y) * columns + at_x;
    return (bytes == 1 ? ((const u8*)luma)[at] : ((const u16*)luma)[at]) >> shift;
  };
  // Every thread of a block comes here as often: what it depends on is the same for all.
  auto predict = [&](i64 number, const i16* vector) {
    const i32 vector_x = vector ? vector[0] : 0, vector_y = vector ? vector[1] : 0;
    const i32 first_y = block_y + (vector_y >> 2) - 2, first_x = block_x + (vector_x >> 2) - 2;
    __syncthreads();
    for (i32 i = thread; i < SAMPLES; i += PIXELS) {
      const i32 at_y = clamp(first_y + i / WINDOW, rows - 1), at_x = clamp(first_x + i % WINDOW, width - 1);
      window[i] = sample(number, at_y, at_x);
    }
    __syncthreads();
    if (taps != SIX_TAP) return interpolate_bilinear(window, y, x, vector_x & 3, vector_y & 3);
    return interpolate_six_tap(window, y, x, vector_x & 3, vector_y & 3, (1 << bit_depth) - 1);
  };

  const bool inside = block_y + y < rows && block_x + x < width;
  const i32 mine = inside ? sample(current[slot], block_y + y, block_x + x) : 0;
  auto missed = [&](i32 predicted) { return !inside ? 0 : mine < predicted ? predicted - mine : mine - predicted; };

  if (thread < CANDIDATES) errors[thread] = 0;
  const i32 ahead = used & LIST_1 ? predict(future[slot], vectors + 4 * block + 2) : 0;
  i32 best = 0;
  if (used == LIST_1) {
    best = missed(ahead);
  } else if (past[CANDIDATES * slot] >= 0) {
    const i32 candidates = used && past[CANDIDATES * slot + 1] >= 0 ? CANDIDATES : 1;
    for (i32 k = 0; k < candidates; k++) {
      const i32 predicted = predict(past[CANDIDATES * slot + k], used ? vectors + 4 * block : nullptr);
      const i32 error = missed(used & LIST_1 ? (predicted + ahead + 1) >> 1 : predicted);
      if (candidates > 1) {
        atomicAdd(&errors[k], error);
        __syncthreads();
      }
      if (k == 0 || errors[k] < errors[0]) best = error;
    }
  }

  const i64 shown_y = block_y + y - top, shown_x = block_x + x - left;
  if (shown_y >= 0 && shown_y < shown_height && shown_x >= 0 && shown_x < shown_width) {
    residual[(slot * shown_height + shown_y) * shown_width + shown_x] = min(best >> (bit_depth - 8), 255);
  }
}
