"""The thing itself: Verilog generators, cocotb benches, lint and verification."""
