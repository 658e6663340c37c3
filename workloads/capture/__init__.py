"""Traces of real PyTorch models: recorded on the meta device, fused by rules, folded into repeated layers."""
