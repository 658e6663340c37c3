"""cocotb benches, run inside a Verilog simulator by ``rtl.verify``."""
