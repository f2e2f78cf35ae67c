#!/bin/bash
# On the first start, make the cluster from POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB. Then become the server.
set -euo pipefail

if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then POSTGRES_PASSWORD=$(<"$POSTGRES_PASSWORD_FILE"); fi
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?is not set: the superuser needs a password}"
    user=${POSTGRES_USER:-postgres}
    initdb --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") --auth-local=trust --auth-host=scram-sha-256
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    # This temporary server listens on its unix socket only, so that no client takes it for the finished one.
    pg_ctl --wait --options='-c listen_addresses=' start
    if [ "${POSTGRES_DB:-$user}" != postgres ]; then
        createdb --username="$user" --maintenance-db=postgres "${POSTGRES_DB:-$user}"
    fi
    pg_ctl --wait --mode=fast stop
fi
[ "$1" != postgres ] || set -- "$@" -c 'listen_addresses=*'
exec "$@"
