#!/bin/bash
# tools/demo.sh: the whole of Hillock in a few minutes, on a fresh machine, with real work.
#
#   --files N    at most this many files (default: all below /usr/share/doc)
#   --bench N    tasks of the benchmark at the end (default 300k)
#   --keep       leave the data directory and the logs
#
# Every file below /usr/share/doc becomes a task; workers made with `hillock work --exec` hash it. Half-way the broker is killed with
# -9 and started again. In the end the results are compared with a direct run of the same program. Everything happens in a temporary
# directory and on a free port of loopback; what was started is stopped again, by its process id.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

files=0
bench=300k
keep=
while [ $# -gt 0 ]; do
	case $1 in
	--files) files=${2:?--files needs a number}; shift 2 ;;
	--bench) bench=${2:?--bench needs a number}; shift 2 ;;
	--keep) keep=yes; shift ;;
	-h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
	*) echo "usage: tools/demo.sh [--files N] [--bench N] [--keep]" >&2; exit 1 ;;
	esac
done
case $files in *[!0-9]*) echo "demo: --files $files: expected a number" >&2; exit 1 ;; esac

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	bold=$'\033[1;36m' plain=$'\033[0m'
fi
number=0
step() {
	number=$((number + 1))
	printf '\n%s%d. %s%s\n' "$bold" "$number" "$*" "$plain"
}
say() { printf '   %s\n' "$*"; }
die() {
	printf '\ndemo: %s\n' "$*" >&2
	for log in "$dir"/*.log; do
		[ ! -s "$log" ] || { echo "---- the end of $log" >&2; tail -n 15 "$log" >&2; }
	done
	exit 1
}

dir=$(mktemp -d "${TMPDIR:-/tmp}/hillock-demo.XXXXXX")
broker='' submitter='' workers=()
cleanup() {
	local pid
	for pid in $submitter "${workers[@]}" $broker; do
		kill "$pid" 2>/dev/null || true
	done
	for pid in $submitter "${workers[@]}" $broker; do
		wait "$pid" 2>/dev/null || true
	done
	if [ -n "$keep" ]; then
		echo "demo: everything is in $dir"
	else
		rm -rf "$dir"
	fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

step "Packages and build"
tools/setup.sh build >"$dir/setup.log" 2>&1 || die "the packages could not be installed"
launchers=()
command -v ccache >/dev/null && launchers=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
cmake --preset release "${launchers[@]}" >"$dir/build.log" 2>&1 || die "cmake failed"
cmake --build build/release --target hillockd hillock >>"$dir/build.log" 2>&1 || die "the build failed"
hillock=$PWD/build/release/hillock
hillockd=$PWD/build/release/hillockd
say "$("$hillock" --version); $("$hillockd" --version)"

# start_broker LISTEN-URL: returns once it says that it is ready; sets $broker and HILLOCK_URL.
start_broker() {
	: >"$dir/hillockd.log"
	"$hillockd" --data "$dir/data" --listen "$1" 2>"$dir/hillockd.log" &
	broker=$!
	while ! grep -q '^ready: ' "$dir/hillockd.log"; do
		kill -0 "$broker" 2>/dev/null || die "the broker did not start"
		sleep 0.02
	done
	HILLOCK_URL=$(sed -n 's/^ready: listening on //p' "$dir/hillockd.log" | head -n 1)
	export HILLOCK_URL
}
# queue_count FIELD: a number of the queue, 0 while there is no broker or no queue to ask.
queue_count() {
	local value
	value=$("$hillock" queue show doc.v1.Hash -o json --timeout 5s 2>/dev/null | sed -n "s/^ *\"$1\": \([0-9]*\),*$/\1/p")
	echo "${value:-0}"
}

step "A broker on a free port"
start_broker tcp://127.0.0.1:0
say "hillockd (process $broker) at $HILLOCK_URL, data in $dir/data"

step "Every file below /usr/share/doc becomes a task"
# A name with a line end in it would be two lines.
find /usr/share/doc -type f ! -name $'*\n*' | LC_ALL=C sort >"$dir/all"
if [ "$files" -gt 0 ]; then head -n "$files" "$dir/all" >"$dir/paths"; else mv "$dir/all" "$dir/paths"; fi
total=$(wc -l <"$dir/paths")
[ "$total" -gt 1 ] || die "there are no files below /usr/share/doc to work on"
"$hillock" submit doc.v1.Hash --file "$dir/paths" --lines --wait -o jsonl >"$dir/results" 2>"$dir/submit.log" &
submitter=$!
say "hillock submit doc.v1.Hash --file paths --lines --wait -o jsonl    ($total tasks)"

step "Two workers dial in; each runs sha256sum for two tasks at a time"
# One process per task: sh reads the path and becomes sha256sum. The quotes are for that sh.
# shellcheck disable=SC2016
program='IFS= read -r path; exec sha256sum -- "$path"'
started=$(date +%s.%N)
for index in 1 2; do
	"$hillock" work doc.v1.Hash --exec "$program" --concurrency 2 --prefetch 8 2>"$dir/worker$index.log" &
	workers+=($!)
done
say "hillock work doc.v1.Hash --exec '$program' --concurrency 2"

step "The broker is killed with -9 half-way"
half=$((total / 2))
while done_total=$(queue_count done_total); [ "$done_total" -lt "$half" ]; do
	kill -0 "$submitter" 2>/dev/null || break
	sleep 0.05
done
kill -9 "$broker"
wait "$broker" 2>/dev/null || true
say "kill -9 $broker when $done_total of $total tasks were done"
restart=$(date +%s%N)
start_broker "$HILLOCK_URL"
say "started again as process $broker; ready after $((($(date +%s%N) - restart) / 1000000)) ms; it knows of $(queue_count done_total) done tasks"

step "Workers and submitter come back by themselves, and finish"
status=0
wait "$submitter" || status=$?
submitter=
finished=$(date +%s.%N)
[ "$status" = 0 ] || die "the submitter ended with $status"
say "$(awk -v a="$started" -v b="$finished" -v n="$total" 'BEGIN { printf "%d tasks in %.1f s, %.0f/s, each one a process of its own", n, b - a, n / (b - a) }')"
for pid in "${workers[@]}"; do
	kill "$pid"
	wait "$pid" || die "a worker ended with $?"
done
workers=()

step "The results, compared with a direct run of the same program"
# One JSON object per line; the result is its last member, the output of sha256sum with its line end.
sed -n 's/^.*"result":"\(.*\)\\n"}$/\1/p' "$dir/results" | sed 's/\\"/"/g; s/\\\\/\\/g' | LC_ALL=C sort >"$dir/got"
xargs -d '\n' sha256sum -- <"$dir/paths" | LC_ALL=C sort >"$dir/want"
cmp "$dir/got" "$dir/want" || die "the results differ: diff $dir/got $dir/want"
say "$(wc -l <"$dir/got") results, all equal; none missing, none twice"
done_total=$(queue_count done_total)
[ "$done_total" = "$total" ] || die "the broker counts $done_total done tasks, not $total"
say "the broker's own count, over both lives: $done_total done"
"$hillock" queue ls | sed 's/^/   /'

step "A short benchmark: submit, sync, confirm, push, start, complete, settle synced"
say "hillock bench task --producers 1 --workers 1 --size 128 --count $bench"
"$hillock" bench task --producers 1 --workers 1 --size 128 --count "$bench" --disk "$dir" -o jsonl >"$dir/bench" ||
	die "the benchmark found something wrong: $(cat "$dir/bench")"
sed -E 's/^\{"tasks":([0-9]+).*"tasks_per_s":([0-9]+).*"confirm_us":\{"p50":([0-9.]+),"p99":([0-9.]+).*"e2e_us":\{"p50":([0-9.]+),"p99":([0-9.]+).*"durable":"([a-z]+)".*$/   \1 tasks, \2 tasks\/s; confirm p50 \3 us, p99 \4 us; whole cycle p50 \5 us, p99 \6 us; a confirm meant: \7/' "$dir/bench"
say "$(cat "$dir/bench")"

step "The broker stops in good order"
kill "$broker"
wait "$broker" || die "the broker ended with $?"
broker=
"$hillockd" fsck "$dir/data" >"$dir/fsck.log" 2>&1 || die "fsck is not content"
say "exit code 0; hillockd fsck: $(tail -n 1 "$dir/fsck.log")"
printf '\n%sAll is well.%s\n' "$bold" "$plain"
