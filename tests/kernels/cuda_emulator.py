"""Run the CUDA C kernels on a CPU, for the tests: g++ and one fiber for each thread of a block.

Blocks run one after another. Between two barriers the threads of a block run one after another too, in an order
that is given: a result that depends on it is a missing `__syncthreads()`.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from codecsieve.kernels.cupy.launch import check_arguments, source_text

ORDERS = ("forward", "backward", "shuffled")
_MOST_ARGUMENTS = 32

_RUNTIME = r"""
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>
#include <ucontext.h>
struct Dim { unsigned x, y, z; };
static Dim threadIdx, blockIdx, blockDim, gridDim;
#define __global__
#define __device__ static
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __constant__ static const
#define __shared__ static
#define __launch_bounds__(...)
using std::min;
using std::max;
template <class T> static T atomicAdd(T* at, T value) { T old = *at; *at = old + value; return old; }
template <class T> static T atomicMax(T* at, T value) { T old = *at; *at = std::max(old, value); return old; }
template <class T> static T atomicMin(T* at, T value) { T old = *at; *at = std::min(old, value); return old; }
template <class T> static T atomicOr(T* at, T value) { T old = *at; *at = old | value; return old; }
template <class T> static T __ldg(const T* at) { return *at; }
static double __dsqrt_rn(double value) { return std::sqrt(value); }
static ucontext_t scheduler;
static std::vector<ucontext_t> fibers;
static std::vector<std::vector<char>> stacks;
static std::vector<bool> ended;
static unsigned running;
static void __syncthreads() { swapcontext(&fibers[running], &scheduler); }
using Kernel = void (*)(i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64,
                        i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64);
static Kernel kernel;
static const i64* w;
static void thread_main() {
  kernel(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11], w[12], w[13], w[14], w[15], w[16],
         w[17], w[18], w[19], w[20], w[21], w[22], w[23], w[24], w[25], w[26], w[27], w[28], w[29], w[30], w[31]);
  ended[running] = true;
}
extern "C" int run_emulated(void* function, const i64* words, const unsigned* grid, unsigned threads, int order) {
  kernel = reinterpret_cast<Kernel>(function);
  w = words;
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {threads, 1, 1};
  fibers.resize(threads);
  stacks.resize(threads);
  for (auto& stack : stacks) stack.resize(65536);
  std::mt19937 random(7);
  std::vector<unsigned> turns(threads);
  std::iota(turns.begin(), turns.end(), 0u);
  if (order == 1) std::reverse(turns.begin(), turns.end());
  for (unsigned z = 0; z < grid[2]; z++) for (unsigned y = 0; y < grid[1]; y++) for (unsigned x = 0; x < grid[0]; x++) {
    blockIdx = {x, y, z};
    ended.assign(threads, false);
    for (unsigned t = 0; t < threads; t++) {
      getcontext(&fibers[t]);
      fibers[t].uc_stack.ss_sp = stacks[t].data();
      fibers[t].uc_stack.ss_size = stacks[t].size();
      fibers[t].uc_link = &scheduler;
      makecontext(&fibers[t], thread_main, 0);
    }
    for (;;) {
      if (order == 2) std::shuffle(turns.begin(), turns.end(), random);
      for (unsigned t : turns) {
        if (ended[t]) continue;
        running = t;
        threadIdx = {t, 0, 0};
        swapcontext(&scheduler, &fibers[t]);
      }
      size_t done = std::count(ended.begin(), ended.end(), true);
      if (done == threads) break;
      if (done) return 1;  // some threads wait at a barrier that others will never reach
    }
  }
  return 0;
}
"""


def available() -> bool:
    """Whether there is a compiler to emulate with."""
    return shutil.which("g++") is not None


def emulated_launch(
    source: str, name: str, grid: tuple[int, ...], threads: int, *arguments: torch.Tensor | int, order: str = "forward"
) -> None:
    """What `codecsieve.kernels.cupy.launch.launch` does, on tensors of the CPU."""
    assert check_arguments(arguments).type == "cpu"
    assert threads <= 1024
    assert len(arguments) <= _MOST_ARGUMENTS
    if 0 in grid:
        return
    library = _library(source_text(source))
    words = [a.data_ptr() if isinstance(a, torch.Tensor) else a for a in arguments]
    words += [0] * (_MOST_ARGUMENTS - len(words))
    sizes = (*grid, 1, 1)[:3]
    stuck = library.run_emulated(
        ctypes.cast(getattr(library, name), ctypes.c_void_p),
        (ctypes.c_longlong * _MOST_ARGUMENTS)(*words),
        (ctypes.c_uint * 3)(*sizes),
        ctypes.c_uint(threads),
        ORDERS.index(order),
    )
    assert not stuck, f"{source}.{name}: a barrier that not all threads reach"


@functools.cache
def _library(text: str) -> ctypes.CDLL:
    """The compiled source; bounds of local arrays and undefined arithmetic are checked as it runs."""
    head, body = text.split("typedef unsigned long long u64;", 1)
    program = f"{head}typedef unsigned long long u64;\n{_RUNTIME}\n{body}"
    folder = Path(tempfile.gettempdir()) / f"cuda-emulator-{hashlib.sha256(program.encode()).hexdigest()[:16]}"
    built = folder / "kernels.so"
    if not built.exists():
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            code, made = Path(scratch) / "kernels.cpp", Path(scratch) / "kernels.so"
            code.write_text(program)
            flags = ["-O1", "-g0", "-std=c++17", "-shared", "-fPIC", "-w", "-fno-strict-aliasing"]
            subprocess.run(
                ["g++", *flags, "-fsanitize=undefined", "-fno-sanitize-recover=undefined", "-o", made, code], check=True
            )
            made.rename(built)
    return ctypes.CDLL(str(built))
