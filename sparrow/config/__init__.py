"""The settings file: what may stand in it, what `sparrow check` says of it, keys that it names."""
