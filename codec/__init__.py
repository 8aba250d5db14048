"""What comes out of a bitstream: facts, packets, a plan, pictures, motion, residual; on the processor or by NVDEC."""
