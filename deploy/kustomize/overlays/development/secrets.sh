#!/bin/sh
# Prints the Secrets of this overlay with random keys and passwords, for `kubectl apply -f -`. Once: Postgres keeps the passwords it was made with.
set -eu

# Begins with a letter: a NATS configuration takes what looks like a number for one.
random() { printf 'k'; head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

# secret NAME KEY VALUE [KEY VALUE]...
secret() {
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: course-materials\nstringData:\n' "$1"
    shift
    while [ $# -gt 0 ]; do
        printf '  %s: "%s"\n' "$1" "$2"
        shift 2
    done
}

nats=$(random) postgres=$(random) status=$(random) processor=$(random)

printf 'apiVersion: v1\nkind: Namespace\nmetadata:\n  name: course-materials\n'
secret identity-keys SERVICE_TOKEN_SECRET "$(random)" AUTH_HS256_SECRET "$(random)"
secret status-database STATUS_DATABASE_URL "postgresql://status:$status@postgres:5432/materials"
secret processor-database PROCESSOR_DATABASE_URL "postgresql://processor:$processor@postgres:5432/materials"
secret nats NATS_URL "nats://materials:$nats@nats:4222"
secret object-store-credentials AWS_ACCESS_KEY_ID "$(random)" AWS_SECRET_ACCESS_KEY "$(random)"
secret postgres-passwords POSTGRES_PASSWORD "$postgres" STATUS_PASSWORD "$status" PROCESSOR_PASSWORD "$processor"
secret nats-server NATS_PASSWORD "$nats"
