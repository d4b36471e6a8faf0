#!/bin/bash
# tools/bench/flood.sh BUILD-DIR [DATA-DIR]: what a working client notices of strangers at the door. Loopback only.
#
# A worker with a producer (`bench task`) runs alone and beside each flood, in turns: 5,000 dials a second from one address and from 200, 10,000
# stalled handshakes, and a session that never reads. Each figure is the median of ROUNDS (3). SECONDS_EACH (20) is how long a flood lasts.
set -eu
build=$(cd "${1:?usage: flood.sh BUILD-DIR [DATA-DIR]}" && pwd)
dir=$(mktemp -d -p "${2:-${TMPDIR:-/tmp}}")
rounds=${ROUNDS:-3}
seconds=${SECONDS_EACH:-20}
count=${COUNT:-1M}
ulimit -n "$(ulimit -Hn)"
"$build/hillockd" --data "$dir/data" --listen tcp://127.0.0.1:46383 >"$dir/hillockd.log" 2>&1 &
hillockd=$!
flood=
trap 'kill $hillockd $flood 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
export HILLOCK_URL=tcp://127.0.0.1:46383
for _ in $(seq 100); do
	grep -q 'ready: ' "$dir/hillockd.log" && break
	sleep 0.1
done
rate() { "$build/hillock" bench task --count "$count" --size 128 -o json | sed -n 's/.*"tasks_per_s": \([0-9]*\).*/\1/p'; }
resident() { awk '/VmRSS/ { print int($2 / 1024) }' "/proc/$hillockd/status"; }
median() { sort -n | sed -n "$(((rounds + 1) / 2))p"; }
echo "| beside | tasks/s alone | beside it | share | resident MiB | what became of the strangers |"
echo "|---|---|---|---|---|---|"
# against NAME OPTION...: both figures in turns
against() {
	local name=$1 round
	shift
	: >"$dir/alone"
	: >"$dir/beside"
	for round in $(seq "$rounds"); do
		rate >>"$dir/alone"
		"$build/tests/flood" 46383 "$@" --seconds "$seconds" >"$dir/flood" &
		flood=$!
		sleep 2 # until it is in full swing
		rate >>"$dir/beside"
		resident >"$dir/mib"
		wait $flood
		flood=
	done
	local alone beside
	alone=$(median <"$dir/alone")
	beside=$(median <"$dir/beside")
	echo "| $name | $alone | $beside | $(awk "BEGIN { printf \"%.0f %%\", 100 * $beside / $alone }") | $(cat "$dir/mib") | $(tr -d '{}"' <"$dir/flood") |"
}
against "5,000 dials/s, one address" churn --rate 5000
against "5,000 dials/s, 200 addresses" churn --rate 5000 --addresses 200
against "10,000 stalled handshakes" stall --conns 10000 --addresses 200 --rate 5000
against "a session that never reads" mute
