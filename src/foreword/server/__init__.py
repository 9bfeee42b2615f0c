"""HTTP: the OpenAI and Anthropic dialects over one neutral request, tenants, limits, metrics. Needs ``foreword[server]``."""
