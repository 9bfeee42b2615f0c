"""Model files: configuration, tokenizer and tensors, behind the protocol Checkpoint; one file a form."""
