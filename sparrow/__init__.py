"""What a person touches: command line, settings, client library, the one-process node, terminal chat."""
