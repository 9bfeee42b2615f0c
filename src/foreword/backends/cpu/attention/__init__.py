"""Attention on the CPU, bit-identical: tiles of KV at absolute positions, merged in a fixed order."""
