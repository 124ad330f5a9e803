"""What servers say to each other: records, tokens, curve keys, networks, the ZeroMQ socket. May import `protocol`."""
