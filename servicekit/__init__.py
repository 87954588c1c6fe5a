"""What every service of the system repeats: settings, lifecycle, server, identity, errors, Postgres, NATS, object store, logs, traces."""

import os

# Children are started by exec, never by a bare fork: gRPC's fork handlers would only slow them down and warn. Read when grpc is first imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
