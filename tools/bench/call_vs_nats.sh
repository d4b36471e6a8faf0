#!/bin/bash
# tools/bench/call_vs_nats.sh BUILD-DIR: requests and replies per second, Hillock against nats-server, in turns.
#
# One caller with WINDOW (64) requests in flight, one answerer, 128 bytes, loopback. Each figure is the median of ROUNDS (5). Needs
# nats-server.
set -eu
build=$(cd "${1:?usage: call_vs_nats.sh BUILD-DIR}" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
rounds=${ROUNDS:-5}
window=${WINDOW:-64}
count=${COUNT:-300000}
dir=$(mktemp -d)
cc -O2 -o "$dir/nats_call" "$here/nats_call.c"
nats-server -a 127.0.0.1 -p 46381 >"$dir/nats.log" 2>&1 &
nats=$!
"$build/hillockd" --data "$dir/data" --listen tcp://127.0.0.1:46382 >"$dir/hillockd.log" 2>&1 &
hillockd=$!
trap 'kill $nats $hillockd 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
export HILLOCK_URL=tcp://127.0.0.1:46382
for _ in $(seq 100); do
	grep -q 'ready: ' "$dir/hillockd.log" && grep -q 'Server is ready' "$dir/nats.log" && break
	sleep 0.1
done
median() { sort -n | sed -n "$(((rounds + 1) / 2))p"; }
for _ in $(seq "$rounds"); do
	"$build/hillock" bench call --count "$count" --size 128 --window "$window" -o json |
		sed -n 's/.*"calls_per_s": \([0-9]*\).*/\1/p' >>"$dir/h"
	"$dir/nats_call" 46381 "$count" 128 "$window" | sed -n 's/.*"calls_per_s":\([0-9]*\).*/\1/p' >>"$dir/n"
done
h=$(median <"$dir/h")
n=$(median <"$dir/n")
echo "| in flight | Hillock calls/s | NATS requests/s | ratio |"
echo "|---|---|---|---|"
echo "| $window | $h | $n | $(awk "BEGIN { printf \"%.2f\", $h / $n }") |"
