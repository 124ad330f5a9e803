"""Routes. Stateless: cache and in-flight only. May import `protocol` and `store`."""
