"""End-to-end tests: real packets, looked at where they pass."""
