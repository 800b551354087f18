"""Exported graphs: what ``policy.json`` says of them, how their values are scaled, and how one feeds the next.

Knows nothing of requests: ``policy.model.onnx_inputs`` makes arrays of those.
"""
