#!/bin/sh
# Lays out the root of the image: the program, the libraries that it names, the public certificate authorities, and
# who is who. Everything comes from the machine that it runs on.
# Usage: sh image-root.sh PROGRAM ROOT [FILE...]      (each FILE goes to /usr/share/doc/portcullis)
set -eu
program=$1
root=$2
shift 2

# `ldd` names each library that the loader would take, and the loader itself.
libraries=$(ldd "$program")
if printf '%s\n' "$libraries" | grep -q 'not found'; then
    printf '%s\n' "$libraries" >&2
    exit 1
fi

umask 022
mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs" "$root/etc/portcullis" "$root/usr/share/doc/portcullis" \
    "$root/run/secrets" "$root/var/lib/portcullis" "$root/tmp"
chmod 0700 "$root/var/lib/portcullis"
chmod 1777 "$root/tmp"
install -m 0755 "$program" "$root/usr/local/bin/portcullis"
printf '%s\n' "$libraries" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' |
    while read -r library; do
        install -D -m 0755 "$library" "$root$library"
    done
install -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
printf 'root:x:0:0:root:/:/sbin/nologin\nportcullis:x:10001:10001:portcullis:/var/lib/portcullis:/sbin/nologin\n' \
    >"$root/etc/passwd"
printf 'root:x:0:\nportcullis:x:10001:\n' >"$root/etc/group"
# Names are looked up in the files that the engine mounts, then by DNS. Both are in the C library itself.
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
for file in "$@"; do
    install -m 0644 "$file" "$root/usr/share/doc/portcullis/"
done
