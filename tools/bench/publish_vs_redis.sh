#!/bin/bash
# tools/bench/publish_vs_redis.sh BUILD-DIR: deliveries per second of published events, Hillock against redis-server, in turns.
#
# One publisher that keeps 8192 events unanswered, 1, 10 and 100 subscribers, 128 bytes, loopback. Redis without persistence; its
# output buffers are unlimited, so that it drops nobody. Each figure is the median of ROUNDS (5). Needs redis-server.
set -eu
build=$(cd "${1:?usage: publish_vs_redis.sh BUILD-DIR}" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
rounds=${ROUNDS:-5}
dir=$(mktemp -d)
cc -O2 -pthread -o "$dir/redis_publish" "$here/redis_publish.c"
redis-server --port 46379 --bind 127.0.0.1 --save '' --appendonly no --dir "$dir" \
	--client-output-buffer-limit 'pubsub 0 0 0' >"$dir/redis.log" 2>&1 &
redis=$!
"$build/hillockd" --data "$dir/data" --listen tcp://127.0.0.1:46380 >"$dir/hillockd.log" 2>&1 &
hillockd=$!
trap 'kill $redis $hillockd 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
export HILLOCK_URL=tcp://127.0.0.1:46380
for _ in $(seq 100); do
	grep -q 'ready: ' "$dir/hillockd.log" && redis-cli -p 46379 ping >/dev/null 2>&1 && break
	sleep 0.1
done
median() { sort -n | sed -n "$(((rounds + 1) / 2))p"; }
echo "| subscribers | Hillock deliveries/s | Redis deliveries/s | ratio |"
echo "|---|---|---|---|"
for n in 1 10 100; do
	count=$((n == 1 ? 1000000 : n == 10 ? 300000 : 50000))
	: >"$dir/h"
	: >"$dir/r"
	for _ in $(seq "$rounds"); do
		"$build/hillock" bench publish --subscribers $n --count $count --size 128 -o json | sed -n 's/.*"deliveries_per_s": \([0-9]*\).*/\1/p' >>"$dir/h"
		"$dir/redis_publish" 46379 $n $count 128 1 >>"$dir/r"
	done
	h=$(median <"$dir/h")
	r=$(median <"$dir/r")
	echo "| $n | $h | $r | $(awk "BEGIN { printf \"%.2f\", $h / $r }") |"
done
