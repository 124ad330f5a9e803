"""gunicorn's worker and arbiter, and the event loop that holds connections. Knows no endpoint."""
