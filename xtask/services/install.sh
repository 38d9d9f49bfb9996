#!/bin/sh
# Installs Debian packages and leaves none of their services running, now or at the next boot.
# Usage, as root: sh install.sh PACKAGE...
set -eu
export DEBIAN_FRONTEND=noninteractive

# Debian asks this program before it starts a service for a package; 101 means "do not". An answer that the
# machine has already stays.
policy=/usr/sbin/policy-rc.d
# A PostgreSQL server comes with a cluster that starts at boot. Where the server is new here, nobody asked for one.
cluster=/etc/postgresql-common/createcluster.d/portcullis.conf

ours=
trap 'rm -f $ours' EXIT
trap 'exit 130' INT TERM HUP

if [ ! -e "$policy" ]; then
    ours="$ours $policy"
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
if [ ! -e /etc/postgresql-common ]; then
    ours="$ours $cluster"
    mkdir -p "${cluster%/*}"
    echo 'create_main_cluster = false' >"$cluster"
fi

# Packages enable their services for the next boot, where policy-rc.d has no say: those that are new are disabled.
services() { ls /etc/systemd/system/multi-user.target.wants 2>/dev/null || true; }
before=$(services)

apt-get -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 update
apt-get -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends --no-upgrade "$@"

if command -v systemctl >/dev/null; then
    for unit in $(services); do
        if ! printf '%s\n' "$before" | grep -qxF "$unit"; then
            systemctl --quiet disable "$unit" || true
            systemctl --quiet stop "$unit" 2>/dev/null || true
        fi
    done
fi
