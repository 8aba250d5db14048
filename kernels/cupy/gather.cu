// The pixels of kept patches: `reference.gather.gather_patches`, of many pictures at once. A block cuts one patch:
// it weighs each plane's rows of samples into a strip in shared memory, then the strip's columns into the samples of
// the patch, and at the end turns Y, U, V into RGB.
//
// An axis is a table, int32 [1 + taps, size]: of each model pixel the first sample, then its weights. Weights are no
// more than `Taps` allows: up to 15 bits a sample, 16 bits hold a sample of the strip, and 32 every sum.
#define TAP_BITS 14
#define FRACTION_BITS 6
#define COLOUR_BITS 14
#define LARGEST_PATCH 32
#define STRIP 8192

#define NEUTRAL (128 << FRACTION_BITS)
#define RGB_BITS (COLOUR_BITS + FRACTION_BITS)

// A plane of one picture: its samples, [rows, columns, channels], begin `first_row` rows into its batch.
struct Plane {
  const void* samples;
  i64 sample_bytes, first_row, columns, channels, depth, shift;
  const i32 *of_rows, *of_columns;
  i64 row_taps, column_taps, size;
};

// One sample of the strip: a column of samples, the `from`th of their rows, weighed for model row y.
template <class Sample>
__device__ i16 weigh_rows(const Plane& plane, i32 y, i32 from) {
  const i64 pitch = plane.columns * plane.channels;
  const Sample* sample = (const Sample*)plane.samples + (plane.first_row + plane.of_rows[y]) * pitch + from;
  const i32* weight = plane.of_rows + y;
  const i32 taps = plane.row_taps, shift = plane.shift, bits = TAP_BITS - FRACTION_BITS + plane.depth - 8;
  i32 total = 1 << (bits - 1);
  for (i32 k = 0; k < taps; k++, sample += pitch) {
    weight += plane.size;
    total += *weight * (*sample >> shift);
  }
  return (i16)(total >> bits);
}

// One sample of the patch: a row of the strip's, every one of a channel from `sample` on, weighed for model column x.
__device__ i32 weigh_columns(const Plane& plane, i32 x, const i16* sample) {
  const i32* weight = plane.of_columns + x;
  const i32 taps = plane.column_taps;
  i32 total = 1 << (TAP_BITS - 1);
  for (i32 k = 0; k < taps; k++, sample += plane.channels) {
    weight += plane.size;
    total += *weight * *sample;
  }
  return total >> TAP_BITS;
}

// The samples of a patch, [channels, patch, patch]: as many rows of it at a time as the strip holds.
__device__ void weigh(const Plane& plane, i32 top, i32 left, i32 patch, i16* strip, i32* weighed) {
  const i32 channels = plane.channels, begin = plane.of_columns[left];
  const i32 width = (plane.of_columns[left + patch - 1] + (i32)plane.column_taps - begin) * channels;
  const i32 most = min(patch, STRIP / width);
  for (i32 row = 0; row < patch; row += most) {
    const i32 rows = min(most, patch - row);
    for (i32 at = threadIdx.x; at < rows * width; at += blockDim.x) {
      const i32 y = top + row + at / width, from = begin * channels + at % width;
      strip[at] = plane.sample_bytes == 1 ? weigh_rows<u8>(plane, y, from) : weigh_rows<u16>(plane, y, from);
    }
    __syncthreads();
    for (i32 at = threadIdx.x; at < channels * rows * patch; at += blockDim.x) {
      const i32 x = at % patch, y = at / patch % rows, channel = at / patch / rows;
      const i16* sample = strip + y * width + (plane.of_columns[left + x] - begin) * channels + channel;
      weighed[(channel * patch + row + y) * patch + x] = weigh_columns(plane, left + x, sample);
    }
    __syncthreads();
  }
}

__device__ u8 clipped(i32 colour) { return (u8)min(max((colour + (1 << (RGB_BITS - 1))) >> RGB_BITS, 0), 255); }

// luma [n, luma_rows, luma_columns], chroma [n, chroma_rows, chroma_columns, 2] unless `grey`, samples of 1 or 2
// bytes; corners [K, 2]; slots [K]; patches [K, 3, patch, patch].
extern "C" __global__ void gather(const void* luma, i64 luma_rows, i64 luma_columns, const void* chroma,
                                  i64 chroma_rows, i64 chroma_columns, i64 grey, i64 sample_bytes, i64 depth, i64 shift,
                                  const i32* luma_of_rows, i64 luma_row_taps, const i32* luma_of_columns,
                                  i64 luma_column_taps, const i32* chroma_of_rows, i64 chroma_row_taps,
                                  const i32* chroma_of_columns, i64 chroma_column_taps, i64 size, i64 luma_offset,
                                  i64 luma_gain, i64 red_v, i64 green_u, i64 green_v, i64 blue_u, const i64* corners,
                                  const i64* slots, i64 patch, u8* patches) {
  __shared__ i16 strip[STRIP];
  __shared__ i32 weighed[3 * LARGEST_PATCH * LARGEST_PATCH];
  const i64 slot = slots[blockIdx.x], top = corners[2 * blockIdx.x], left = corners[2 * blockIdx.x + 1];
  const i32 pixels = patch * patch;
  i32 *y = weighed, *u = weighed + pixels, *v = weighed + 2 * pixels;
  const Plane light = {luma,         sample_bytes,    slot * luma_rows, luma_columns,     1,   depth, shift,
                       luma_of_rows, luma_of_columns, luma_row_taps,    luma_column_taps, size};
  const Plane colour = {chroma,         sample_bytes,      slot * chroma_rows, chroma_columns,     2,   depth, shift,
                        chroma_of_rows, chroma_of_columns, chroma_row_taps,    chroma_column_taps, size};
  weigh(light, top, left, patch, strip, y);
  if (!grey) weigh(colour, top, left, patch, strip, u);
  u8* red = patches + (i64)blockIdx.x * 3 * pixels;
  u8 *green = red + pixels, *blue = green + pixels;
  for (i32 at = threadIdx.x; at < pixels; at += blockDim.x) {
    const i32 bright = (y[at] - ((i32)luma_offset << FRACTION_BITS)) * (i32)luma_gain;
    const i32 cb = grey ? 0 : u[at] - NEUTRAL, cr = grey ? 0 : v[at] - NEUTRAL;
    red[at] = clipped(bright + (i32)red_v * cr);
    green[at] = clipped(bright + (i32)green_u * cb + (i32)green_v * cr);
    blue[at] = clipped(bright + (i32)blue_u * cb);
  }
}
