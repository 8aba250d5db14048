// The levels that block search works on: `reference.search.area_resize` and `pyramid` of a batch of pictures, with a
// border all around (`kernels.levels`). A block makes one row of a level of one picture; a thread makes one byte of
// it, that of the nearest pixel.
//
// An axis is a table, int32 [1 + taps, side]: of each pixel the first sample, then its weights.
#define TAP_BITS 14

__device__ i32 nearest(i32 at, i64 reach, i64 side) { return min(max(at - (i32)reach, 0), (i32)side - 1); }

// Pixel (y, x) of a picture of `columns` samples a row. 32 bits hold a column of 8-bit samples, weighed.
template <class Sample>
__device__ u8 pixel(const Sample* picture, i64 columns, i32 shift, const i32* __restrict__ of_rows, i32 row_taps,
                    const i32* __restrict__ of_columns, i32 column_taps, i32 side, i32 y, i32 x) {
  const Sample* corner = picture + of_rows[y] * columns + of_columns[x];
  i64 total = (i64)1 << (2 * TAP_BITS - 1);
  for (i32 j = 0; j < column_taps; j++) {
    const Sample* sample = corner + j;
    i32 strip = 0;
    for (i32 i = 0; i < row_taps; i++, sample += columns) {
      strip += of_rows[(i + 1) * side + y] * (*sample >> shift);
    }
    total += (i64)of_columns[(j + 1) * side + x] * strip;
  }
  return (u8)(total >> (2 * TAP_BITS));
}

// Level 0: luma [n, rows, columns], samples of 1 or 2 bytes, to level [n, level_rows, pitch].
extern "C" __global__ void resize(const void* luma, i64 sample_bytes, i64 rows, i64 columns, i64 shift,
                                  const i32* of_rows, i64 row_taps, const i32* of_columns, i64 column_taps, i64 side,
                                  i64 reach, i64 level_rows, i64 pitch, u8* level) {
  const i64 first = blockIdx.x / (u32)level_rows * rows * columns;
  const i32 y = nearest(blockIdx.x % (u32)level_rows, reach, side);
  for (i32 at = threadIdx.x; at < pitch; at += blockDim.x) {
    const i32 x = nearest(at, reach, side);
    level[blockIdx.x * pitch + at] =
        sample_bytes == 1
            ? pixel((const u8*)luma + first, columns, shift, of_rows, row_taps, of_columns, column_taps, side, y, x)
            : pixel((const u16*)luma + first, columns, shift, of_rows, row_taps, of_columns, column_taps, side, y, x);
  }
}

// Every further level: 2x2 means, rounded. Behind an odd side of the finer level its border is what the mean takes.
extern "C" __global__ void halve(const u8* finer, i64 finer_reach, i64 finer_rows, i64 finer_pitch, i64 side,
                                 i64 reach, i64 level_rows, i64 pitch, u8* level) {
  const i64 picture = blockIdx.x / (u32)level_rows;
  const i32 y = nearest(blockIdx.x % (u32)level_rows, reach, side);
  const u8* line = finer + (picture * finer_rows + finer_reach + 2 * y) * finer_pitch + finer_reach;
  for (i32 at = threadIdx.x; at < pitch; at += blockDim.x) {
    const u8* corner = line + 2 * nearest(at, reach, side);
    const i32 total = corner[0] + corner[1] + corner[finer_pitch] + corner[finer_pitch + 1];
    level[blockIdx.x * pitch + at] = (u8)((total + 2) >> 2);
  }
}
