"""What no test may inherit from the shell it is started in."""

import os
import signal

os.environ.pop("DCCTL_ENVIRONMENT", None)
# A shell starts what it puts in the background with Ctrl-C ignored, and so would all that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
