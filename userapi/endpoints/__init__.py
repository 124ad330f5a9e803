"""What the user API offers, one module for each area. May import all of the user API but `userapi.process`."""
