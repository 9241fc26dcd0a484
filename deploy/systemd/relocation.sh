#!/bin/sh
# Run a command of the installation as the service runs it: as its user, with its settings and folders.
# The name of this file is the command: install it as /usr/local/bin/relocation and .../prefect.
set -eu
for file in /etc/relocation/relocation.env /etc/relocation/secrets.env; do
    [ -r "$file" ] || continue
    while IFS= read -r line; do
        case $line in [A-Z]*=*) export "${line?}" ;; esac
    done <"$file"
done
export PREFECT_HOME=/var/lib/relocation/prefect RELOCATION_HOME=/var/lib/relocation/data
# Root's own folders are closed to the user of the service.
runuser -u relocation -- test -r . || cd /
umask 0077
exec runuser -u relocation -- "/opt/relocation/.venv/bin/${0##*/}" "$@"
