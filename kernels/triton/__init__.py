"""GPU forms of the kernels, in Triton; see `codecsieve.kernels`."""
