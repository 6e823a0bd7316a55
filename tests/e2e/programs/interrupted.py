"""Says that it is ready, and then that it was interrupted."""

import time

try:
    print("ready", flush=True)
    time.sleep(100_000)
except KeyboardInterrupt:
    print("interrupted", flush=True)
