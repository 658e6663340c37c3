"""From an ONNX graph to a Trace, in passes: load without weights, infer shapes, fuse, emit rows."""
