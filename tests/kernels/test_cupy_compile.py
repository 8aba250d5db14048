"""Every CUDA C source compiles for the GPUs that it is written for, with no GPU at hand; and what launching refuses."""

from __future__ import annotations

import re
from types import ModuleType

import pytest
import torch

from codecsieve.kernels.cupy import launch

SOURCES = sorted(path.stem for path in launch.FOLDER.glob("*.cu"))
KERNEL = re.compile(r'extern "C" __global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(')
ARCHITECTURE = "sm_90"


@pytest.fixture(scope="module")
def nvrtc() -> ModuleType:
    pytest.importorskip("cupy")
    from cupy_backends.cuda.libs import nvrtc

    try:
        nvrtc.getVersion()
    except Exception as error:  # what is raised depends on how the library was looked for
        pytest.skip(f"NVRTC cannot be loaded: {error}")
    return nvrtc


def cubin(nvrtc: ModuleType, text: str) -> bytes:
    """A source as machine code of the GPU; the compiler's own words are the error."""
    program = nvrtc.createProgram(text, "kernels.cu", (), ())
    try:
        nvrtc.compileProgram(program, (f"--gpu-architecture={ARCHITECTURE}", *launch.OPTIONS))
        return nvrtc.getCUBIN(program)
    except nvrtc.NVRTCError as error:
        raise AssertionError(nvrtc.getProgramLog(program)) from error
    finally:
        nvrtc.destroyProgram(program)


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_a_source_compiles_and_has_its_kernels(nvrtc: ModuleType, source: str) -> None:
    text = launch.source_text(source)
    names = KERNEL.findall(text)
    assert len(names) == text.count("__global__") > 0
    code = cubin(nvrtc, text)
    for name in names:
        assert f".text.{name}\0".encode() in code


def test_more_shared_memory_than_every_gpu_has_is_refused(nvrtc: ModuleType) -> None:
    """So that no source that compiles asks for too much."""
    kernel = 'extern "C" __global__ void turn(int* a) {{ __shared__ int b[{}]; b[a[0]] = a[1]; a[2] = b[a[3]]; }}'
    assert cubin(nvrtc, kernel.format(12 * 1024))
    with pytest.raises(AssertionError):
        cubin(nvrtc, kernel.format(12 * 1024 + 1))


def test_launching_wants_an_array() -> None:
    with pytest.raises(ValueError, match=r"arrays must be on one device, not on \[\]"):
        launch.check_arguments((1, 2))


def test_launching_wants_arrays_on_one_device() -> None:
    with pytest.raises(ValueError, match=r"arrays must be on one device, not on \['cpu', 'meta'\]"):
        launch.check_arguments((torch.empty(2), torch.empty(2, device="meta")))


def test_launching_wants_contiguous_arrays() -> None:
    with pytest.raises(ValueError, match=r"array \(3, 2\) with strides \(1, 3\) must be contiguous"):
        launch.check_arguments((torch.empty(2, 3).T, 1))


def test_launching_is_on_the_arrays_device() -> None:
    assert launch.check_arguments((torch.empty(2), 7, torch.empty(0))) == torch.device("cpu")
