#!/bin/sh
# Run by the database's image when it makes its data: the user who reads and writes rows, and no more (T7).
# The tables are made by their owner: `portcullis migrate`, in the service `migrate`.
set -eu
psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" \
    --set=password="$(cat /run/secrets/database_password)" <<'SQL'
CREATE ROLE portcullis LOGIN PASSWORD :'password';
REVOKE CONNECT, TEMPORARY ON DATABASE portcullis FROM PUBLIC;
GRANT CONNECT ON DATABASE portcullis TO portcullis;
SQL
