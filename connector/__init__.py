"""Holds client sockets and sessions. Knows brokers, no database: may import `protocol` and `fabric`."""
