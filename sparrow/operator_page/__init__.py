"""The operator's page: a process of its own, with a listener and an origin of its own (`sparrow operator`)."""
