"""Plain and slow: what the other backends are tested against."""
