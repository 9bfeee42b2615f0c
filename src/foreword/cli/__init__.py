"""The foreword command. Each command is one file; none has logic that a library user would miss."""
