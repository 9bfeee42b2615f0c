"""What an operator sees: /v1/cache, the dashboard, and a client of both."""
