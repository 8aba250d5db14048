"""GPU forms of the kernels, in CUDA C that CuPy compiles; see `codecsieve.kernels`."""
