"""The command line of course-materials: upload files, watch them being read, search what was read."""

import os

# gRPC's own log lines on stderr would stand between ours; it reads this once, when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
