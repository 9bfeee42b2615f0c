"""Model files: their configuration, tokenizer and tensors."""
