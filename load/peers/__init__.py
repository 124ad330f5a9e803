"""Clients of other servers, for measuring them side by side with Sparrow (`scripts/peers`)."""
