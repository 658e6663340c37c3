"""Formats of other tools: protobuf wire format, Chakra nodes, GEMM lists."""
