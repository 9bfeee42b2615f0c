"""The rows of ``benchmarks/tiers.py``, one file a subject."""
