"""A neutral request in, an answer or updates out: what every dialect stands on."""
