"""The operations of `codecsieve.kernels.reference` in numba, equal bit for bit: what users run on a CPU."""
