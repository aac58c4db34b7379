"""What no test may inherit from the shell it is started in."""

import os

os.environ.pop("DCCTL_ENVIRONMENT", None)
