"""What the GPU road reaches on a machine, and whether it gives the processor's bits."""
