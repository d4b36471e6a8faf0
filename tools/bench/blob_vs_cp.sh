#!/bin/bash
# tools/bench/blob_vs_cp.sh BUILD-DIR DIR: blobs through the broker against `cp` and one fsync of the same file on the same disk, in turns.
#
# DIR is a directory on the disk to measure: data directory and files are made in it and removed. SIZE (4G) is the file, ROUNDS (3) the turns;
# each figure is a median. Said are: both directions at once against cp (at least 60 % is asked); how much memory the broker had above idle
# meanwhile (less than 64 MiB is asked); the rate and p99 of small tasks alone and beside an upload (80 % and twice are asked).
set -eu
build=$(cd "${1:?usage: blob_vs_cp.sh BUILD-DIR DIR}" && pwd)
base=$(cd "${2:?usage: blob_vs_cp.sh BUILD-DIR DIR}" && pwd)
size=${SIZE:-4G}
rounds=${ROUNDS:-3}
tasks=${TASKS:-200000}
port=${PORT:-46385}
dir=$(mktemp -d "$base/blob_vs_cp.XXXXXX")
printf 'blob_grace = 1s\n' >"$dir/conf"
"$build/hillockd" --data "$dir/data" --config "$dir/conf" --listen "tcp://127.0.0.1:$port" >"$dir/log" 2>&1 &
broker=$!
sampler=
trap 'kill $broker $sampler 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
export HILLOCK_URL=tcp://127.0.0.1:$port
for _ in $(seq 100); do
	grep -q 'ready: ' "$dir/log" && break
	sleep 0.1
done
bytes=$(numfmt --from=iec "$size")
rss() { sed -n 's/VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$broker/status"; }
median() { sort -n | sed -n "$(((rounds + 1) / 2))p"; }
field() { sed -n "s/.*\"$1\": \([0-9.]*\).*/\1/p"; }
mib() { awk "BEGIN { printf \"%.0f\", $1 / 1024 }"; }
rate() { awk "BEGIN { printf \"%.0f\", $1 }"; }

head -c "$bytes" /dev/urandom >"$dir/file"
sync "$dir/file"
idle=$(rss)
most=$idle
(while sleep 0.1; do rss >>"$dir/rss"; done) &
sampler=$!
for _ in $(seq "$rounds"); do
	rm -f "$dir/copy"
	begun=$(date +%s.%N)
	cp "$dir/file" "$dir/copy"
	sync "$dir/copy"
	awk "BEGIN { print $bytes / 1e6 / ($(date +%s.%N) - $begun) }" >>"$dir/cp"
	rm -f "$dir/copy"
	"$build/hillock" bench blob --size "$size" --count 1 -o json >"$dir/out"
	field mb_per_s <"$dir/out" >>"$dir/both"
	field up_mb_per_s <"$dir/out" >>"$dir/up"
	field down_mb_per_s <"$dir/out" >>"$dir/down"
	"$build/hillock" blob gc >/dev/null
done
kill $sampler
wait $sampler 2>/dev/null || true
sampler=
most=$(sort -n "$dir/rss" | tail -1)
for _ in $(seq "$rounds"); do
	"$build/hillock" bench task --count "$tasks" --size 128 -o json >"$dir/out"
	field tasks_per_s <"$dir/out" >>"$dir/alone"
	{ tr -d '\n ' <"$dir/out"; echo; } | sed -n 's/.*"confirm_us":{[^}]*"p99":\([0-9.]*\).*/\1/p' >>"$dir/alone_p99"
	"$build/hillock" blob put "$dir/file" >/dev/null &
	upload=$!
	"$build/hillock" bench task --count "$tasks" --size 128 -o json >"$dir/out"
	field tasks_per_s <"$dir/out" >>"$dir/beside"
	{ tr -d '\n ' <"$dir/out"; echo; } | sed -n 's/.*"confirm_us":{[^}]*"p99":\([0-9.]*\).*/\1/p' >>"$dir/beside_p99"
	kill -0 $upload 2>/dev/null || echo "the upload was over before the tasks were: use a larger SIZE or fewer TASKS" >&2
	wait $upload
	"$build/hillock" blob gc >/dev/null
done
cp=$(median <"$dir/cp")
both=$(median <"$dir/both")
alone=$(median <"$dir/alone")
beside=$(median <"$dir/beside")
p=$(median <"$dir/alone_p99")
q=$(median <"$dir/beside_p99")
echo "load average $(cut -d' ' -f1 /proc/loadavg); $rounds rounds, $size each"
echo "| cp + fsync MB/s | blobs both ways MB/s | of it up | down | ratio | memory above idle MiB |"
echo "|---|---|---|---|---|---|"
echo "| $(rate "$cp") | $(rate "$both") | $(rate "$(median <"$dir/up")") | $(rate "$(median <"$dir/down")") |" \
	"$(awk "BEGIN { printf \"%.2f\", $both / $cp }") | $(mib $((most - idle))) |"
echo
echo "| small tasks/s alone | beside an upload | share | confirm p99 us alone | beside | times |"
echo "|---|---|---|---|---|---|"
echo "| $alone | $beside | $(awk "BEGIN { printf \"%.0f %%\", 100 * $beside / $alone }") | $p | $q | $(awk "BEGIN { printf \"%.2f\", $q / $p }") |"
