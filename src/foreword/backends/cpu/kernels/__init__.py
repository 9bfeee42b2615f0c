"""Our own kernels for processors, in LLVM's intermediate language, compiled at start: linear layers and attention."""
