"""Real services for tests: started once, shared by all who need them, gone when nobody does."""
