"""HTTP, server-sent events and the web page: a translation of the same gRPC calls."""
