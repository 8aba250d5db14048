"""Every Triton kernel compiles for sm_90, with the arguments that the functions launch it with; no GPU is needed.

Under the interpreter a decorated function is not one that can be compiled, so this file runs itself as a program,
without it. There every launch is compiled in place of being run.
"""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
from functools import partial
from importlib import import_module
from typing import Any

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Kernels that the package has, and what each launch was compiled to."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    run = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_every_kernel_of_the_package_is_launched_here(report: dict[str, Any]) -> None:
    assert report["kernels"]
    assert {launch["kernel"] for launch in report["launches"]} == set(report["kernels"])


def test_every_launch_compiles(report: dict[str, Any]) -> None:
    assert all(launch["cubin"] > 1000 for launch in report["launches"])
    assert all(".target sm_90" in launch["ptx"] for launch in report["launches"])


def test_the_search_adds_differences_of_four_pixels_in_one_instruction(report: dict[str, Any]) -> None:
    search = [launch for launch in report["launches"] if launch["kernel"] == "search._search_kernel"]
    counts = {launch["constants"]["side"]: launch["ptx"].count("vabsdiff4.u32.u32.u32.add") for launch in search}
    # Two words of eight lines, for a displacement of the loop, four of the neighbours and none.
    assert [counts[side] for side in (224, 112, 56)] == [16 * 6] * 3
    assert all(counts.values())


def test_the_geometric_mean_takes_the_root_that_is_rounded_correctly(report: dict[str, Any]) -> None:
    for fuse in ("geomean", "product"):
        launched = [launch["ptx"] for launch in report["launches"] if launch["constants"].get("fuse") == fuse]
        assert launched
        assert all("sqrt.rn.f64" in ptx for ptx in launched)


def test_cells_are_read_by_lines_where_rows_are_whole_words(report: dict[str, Any]) -> None:
    energy = [launch for launch in report["launches"] if launch["kernel"] == "energy._energy_kernel"]
    by_bytes = {launch["constants"]["whole_words"]: "ld.global.b8" in launch["ptx"] for launch in energy}
    assert by_bytes == {True: False, False: True}


def launch_all() -> None:
    """Call every function that launches kernels, at real sizes and at the smallest."""
    import torch

    from codecsieve.kernels.geometry import geometry
    from codecsieve.kernels.levels import Levels, level_shapes
    from codecsieve.kernels.rules import FUSE_MODES
    from codecsieve.kernels.triton.energy import pool_energy
    from codecsieve.kernels.triton.residual import search_residual
    from codecsieve.kernels.triton.search import search_vectors

    for n, size in ((2, 224), (1, 1)):
        shapes = level_shapes(size)
        arrays = tuple(torch.zeros((n, shape.rows, shape.pitch), dtype=torch.uint8) for shape in shapes)
        levels = Levels(size, arrays)
        search_residual(levels, levels, search_vectors(levels, levels))
    pictures = [(2, 224, 224, 224, fuse) for fuse in FUSE_MODES]
    for n, height, width, size, fuse in (*pictures, (2, 1080, 1918, 224, "weighted"), (1, 1, 1, 14, "weighted")):
        grids = geometry(height, width, size, 14)
        cells = (grids.cells_height, grids.cells_width)
        lengths, table = torch.zeros((n, *cells), dtype=torch.int32), torch.zeros(cells, dtype=torch.int32)
        residual, limits = torch.zeros((n, height, width), dtype=torch.uint8), torch.ones(n, dtype=torch.int32)
        pool_energy(lengths, limits, residual, limits, grids, table, fuse, (16384, 0))


def compile_launch(launches: list[dict[str, Any]], kernel: Any, *arguments: Any, **named: Any) -> None:
    """Compile a kernel for the arguments of a launch, specialised as Triton's launcher does."""
    import torch
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {torch.uint8: "*u8", torch.int16: "*i16", torch.int32: "*i32", torch.int64: "*i64"}
    values = dict(zip(kernel.arg_names, arguments, strict=False))
    values |= {name: value for name, value in named.items() if name in kernel.arg_names}
    options = {name: value for name, value in named.items() if name not in kernel.arg_names}
    signature, constants, hints = {}, {}, {}
    for number, parameter in enumerate(kernel.params):
        value = values[parameter.name]
        if parameter.is_constexpr or (isinstance(value, int) and value == 1):
            signature[parameter.name], constants[parameter.name] = "constexpr", value
            continue
        signature[parameter.name] = types[value.dtype] if isinstance(value, torch.Tensor) else "i32"
        if isinstance(value, torch.Tensor) or value % 16 == 0:
            hints[(number,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=hints)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    launches.append(
        {
            "kernel": kernel_name(kernel),
            "constants": constants,
            "cubin": len(compiled.asm["cubin"]),
            "ptx": compiled.asm["ptx"],
        }
    )


def kernel_name(kernel: Any) -> str:
    return f"{kernel.fn.__module__.rpartition('.')[2]}.{kernel.fn.__name__}"


def package_kernels() -> list[Any]:
    """Decorated functions of the package that no other one calls."""
    import triton

    import codecsieve.kernels.triton as package

    modules = [import_module(f"{package.__name__}.{found.name}") for found in pkgutil.iter_modules(package.__path__)]
    functions = {
        kernel_name(value): value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, triton.JITFunction)
    }
    called = {name for function in functions.values() for name in function.fn.__code__.co_names}
    return [function for function in functions.values() if function.fn.__name__ not in called]


if __name__ == "__main__":
    from triton import JITFunction

    launches: list[dict[str, Any]] = []
    JITFunction.__getitem__ = lambda kernel, grid: partial(compile_launch, launches, kernel)
    launch_all()
    kernels = [kernel_name(kernel) for kernel in package_kernels()]
    print(json.dumps({"kernels": kernels, "launches": launches}))
