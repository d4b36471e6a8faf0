#!/bin/sh
# Runs a command with @DIR@ replaced by a fresh directory that is removed afterwards.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for arg in "$@"; do
	shift
	[ "$arg" = "@DIR@" ] && arg=$dir/data
	set -- "$@" "$arg"
done
"$@"
