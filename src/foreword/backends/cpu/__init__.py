"""The CPU: kernels, formats of weights, attention, KV memory."""
