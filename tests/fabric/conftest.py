"""Settings of hypothesis: a machine that is busy is no failure."""

from hypothesis import settings

settings.register_profile("sparrow", deadline=None, print_blob=True)
settings.load_profile("sparrow")
