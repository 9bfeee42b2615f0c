"""From one line of a log to one request: the wrapper is peeled off first (envelope.py), then the body is read by its
form (body.py; one file each).

Known bodies: OpenAI chat completions and responses, Anthropic messages. Known wrappers: none, batch files of both
vendors, LiteLLM's logging payload, and Foreword's own log.
"""

from foreword.audit.readers.envelope import LogLineError, parse_line, read_record

__all__ = ["LogLineError", "parse_line", "read_record"]
