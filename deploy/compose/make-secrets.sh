#!/bin/sh
# Makes the secrets of compose.yaml, each once: what is there already stays as it is.
# The certificate is yours: put it into secrets/tls_cert and secrets/tls_key.
# Usage: sh make-secrets.sh [FOLDER]           (default: secrets beside this script)
set -eu
folder=${1:-"$(dirname "$0")/secrets"}

# Files of compose bear their owner and mode into the containers, whose users differ: each may read the files, and
# the folder keeps everybody else on this machine out.
umask 022
mkdir -p "$folder"
chmod 0700 "$folder"

random() { od -An -tx1 -N32 /dev/urandom | tr -d ' \n'; }

once() {
    if [ ! -s "$folder/$1" ]; then
        printf '%s' "$2" >"$folder/$1.new"
        chmod 0444 "$folder/$1.new"
        mv "$folder/$1.new" "$folder/$1"
    fi
}

once master "$(random)"
once database_password "$(random)"
once database_owner_password "$(random)"
once redis_password "$(random)"
once database_url "postgres://portcullis:$(cat "$folder/database_password")@database/portcullis"
once database_owner_url "postgres://portcullis_owner:$(cat "$folder/database_owner_password")@database/portcullis"
once redis_url "redis://:$(cat "$folder/redis_password")@cache:6379"

for file in tls_cert tls_key; do
    if [ ! -s "$folder/$file" ]; then
        echo "still yours to bring: $folder/$file (PEM)" >&2
    fi
done
