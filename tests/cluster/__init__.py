"""The services on a distributed base: a NATS cluster, S3, two replicas of each. `make cluster-test`."""
