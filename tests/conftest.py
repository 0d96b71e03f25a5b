"""Settings of the tests proper; the conftest.py above serves the documents too."""

import os

from hypothesis import settings

# The first example of a shape traces a graph, which takes far longer than the rest;
# a database of failures would make one run depend on the run before.
settings.register_profile("dev", deadline=None, database=None)
settings.register_profile("ci", parent=settings.get_profile("dev"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
