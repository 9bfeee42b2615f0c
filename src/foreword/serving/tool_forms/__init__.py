"""Tool calls in what a model writes. One file a form; ``reader`` picks the form by an answer's beginning."""
