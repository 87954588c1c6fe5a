"""Starts the whole system on one machine: embedded Postgres, a NATS server, the local Brain and the services."""
