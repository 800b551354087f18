"""Exported graphs: what ``policy.json`` says of them, how their values are scaled, and how one feeds the next.

``policy.model.onnx_policy`` makes a policy of them.
"""
