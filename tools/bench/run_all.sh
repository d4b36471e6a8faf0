#!/bin/bash
# tools/bench/run_all.sh: repeats the tables of docs/benchmarks.md.
#
#   tools/bench/run_all.sh BUILD_DIR DATA_DIR [PART]...    parts: disk task latency backlog restart idle; default: all
#
# Every run has a fresh broker on DATA_DIR/hillock-bench, which is removed first. One JSON line per run goes to standard output: the
# result of the command with "part", "run" and the load average before it in front, so that a noisy run can be told from a quiet one.
# RUNS (default 5), BACKLOG (10000000), RESTART ("1000000 10000000"), IDLE (10000), BENCH_PORT (4791) and NICE (0) may be set.
set -euo pipefail

[ $# -ge 2 ] || { sed -n "2,12s/^# \{0,1\}//p" "$0"; exit 1; }
build=$(realpath "$1") root=$(realpath "$2")
shift 2
parts=${*:-disk task latency backlog restart idle}
data=$root/hillock-bench log=$root/hillock-bench.log
port=${BENCH_PORT:-4791} runs=${RUNS:-5}
export HILLOCK_URL=tcp://127.0.0.1:$port
broker=

fresh() { rm -rf "$data" "$log"; }

# Starts the broker on what is in the data directory; start_ms: from before exec to "ready".
start() {
	: > "$log"
	local from
	from=$(date +%s%N)
	nice -n "${NICE:-0}" "$build/hillockd" --data "$data" --listen "tcp://127.0.0.1:$port" > /dev/null 2> "$log" &
	broker=$!
	until grep -q ready "$log"; do
		kill -0 "$broker" || { cat "$log" >&2; exit 1; }
		sleep 0.005
	done
	start_ms=$((($(date +%s%N) - from) / 1000000))
}

stop() { # signal
	[ -n "$broker" ] || return 0
	kill "-$1" "$broker"
	wait "$broker" 2> /dev/null || true
	broker=
}
trap 'stop TERM' EXIT

say() { # part run json
	jq -c --arg part "$1" --arg run "$2" --arg load "$(cut -d' ' -f1 /proc/loadavg)" \
		'{part: $part, run: $run | tonumber, load: $load | tonumber} + .' <<< "$3"
}

measure() { # part run arguments of hillock
	local part=$1 run=$2 out
	shift 2
	out=$(timeout "${LIMIT:-180}" nice -n "${NICE:-0}" "$build/hillock" "$@" -o json) || true # a run that was not good says so itself
	say "$part" "$run" "$out"
}

stat() { "$build/hillock" stats -o json | jq ".$1"; }
rss_kb() { awk '/^VmRSS/ { print $2 }' "/proc/$broker/status"; }
anon_kb() { awk '/^RssAnon/ { print $2 }' "/proc/$broker/status"; }

part_disk() {
	measure disk 1 bench disk --dir "$root"
}

part_task() {
	local run name options
	for run in $(seq "$runs"); do
		while read -r name options; do
			fresh; start
			# shellcheck disable=SC2086
			measure "task:$name" "$run" bench task $options
			stop TERM
		done <<- END
			1x1:128 --producers 1 --workers 1 --size 128 --count 1000000
			4x4:128 --producers 4 --workers 4 --size 128 --count 1000000
			1x1:1024 --producers 1 --workers 1 --size 1024 --count 500000
			1x1:16384 --producers 1 --workers 1 --size 16384 --count 50000
		END
	done
}

part_latency() {
	local run
	for run in $(seq "$runs"); do
		fresh; start
		measure latency:task "$run" bench task --window 1 --prefetch 1 --count 5000 --disk "$root"
		measure latency:submit "$run" bench submit --window 1 --count 5000
		stop TERM
	done
}

part_backlog() {
	local count=${BACKLOG:-10000000} before after
	fresh; start
	before=$(anon_kb)
	measure backlog:submit 1 bench submit --count "$count" --size 128
	sleep 2 # the last index is written
	after=$(anon_kb)
	say backlog:memory 1 "$(jq -n --argjson count "$count" --argjson before "$before" --argjson after "$after" \
		--argjson cache "$(stat log_cache_bytes)" --argjson tasks "$(stat tasks_memory_bytes)" \
		--argjson disk "$(du -sB1 "$data" | cut -f1)" \
		'{tasks: $count, rss_anon_before_kb: $before, rss_anon_after_kb: $after, log_cache_bytes: $cache,
		  tasks_memory_bytes: $tasks, tasks_memory_per_task: ($tasks / $count),
		  rss_per_task: (($after - $before) * 1024 / $count),
		  rss_per_task_without_cache: ((($after - $before) * 1024 - $cache) / $count),
		  disk_bytes: $disk, disk_per_payload_byte: ($disk / $count / 128)}')"
	measure backlog:drain 1 bench drain
	stop TERM
}

part_restart() {
	local count signal
	for count in ${RESTART:-1000000 10000000}; do
		fresh; start
		measure "restart:fill:$count" 1 bench submit --count "$count" --size 128
		for signal in KILL KILL KILL TERM TERM TERM; do
			stop "$signal"; start
			say "restart:$signal:$count" 1 "{\"start_ms\": $start_ms, \"waiting\": $(stat tasks_waiting)}"
		done
		stop TERM
	done
}

part_idle() {
	local count=${IDLE:-10000} run before after
	fresh; start
	"$build/hillock" queue create idle > /dev/null
	before=$(anon_kb)
	coproc WORKERS { "$build/tests/idle_workers" "$HILLOCK_URL" "$count" idle; }
	read -r -u "${WORKERS[0]}"
	after=$(anon_kb)
	say idle:memory 1 "{\"workers\": $count, \"bytes_each\": $(((after - before) * 1024 / count)), \"conns\": $(stat conns)}"
	for run in $(seq "$runs"); do
		measure idle:beside "$run" bench task --count 1000000
	done
	local input=${WORKERS[1]}
	exec {input}>&-
	wait "$WORKERS_PID" || true
	for run in $(seq "$runs"); do
		measure idle:without "$run" bench task --count 1000000
	done
	stop TERM
}

for part in $parts; do
	"part_$part"
done
fresh
