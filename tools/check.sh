#!/bin/bash
# tools/check.sh [--quick]: everything a change must pass, from a clean clone, without standard input.
#
#   --quick   gcc build, unit tests and style only: about a minute
#
# Each stage prints its time; its output is in build/check/NAME.log. The last line is 'N passed, N failed' over all tests of all
# stages (a stage that fails to build counts as one failed test). Exit status 0 only when nothing failed.
# CHECK_SEEDS, CHECK_KILLS and CHECK_FUZZ_SECONDS make the long stages longer, CHECK_ALL=1 runs what the commit suite takes in turns
# by the number of commits (a fifth of the planted bugs; a build without TLS; the slowest program under sanitizers) or in steps (faults of the
# log under sanitizers); docs/testing.md says how to repeat one failure.
set -u
cd "$(dirname "$0")/.." || exit 1
exec </dev/null

case ${1:-} in
"") quick= ;;
--quick) quick=yes ;;
-h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
*) echo "usage: tools/check.sh [--quick]" >&2; exit 1 ;;
esac

seeds=${CHECK_SEEDS:-300}
kills=${CHECK_KILLS:-5}
fuzz_seconds=${CHECK_FUZZ_SECONDS:-3}
all=${CHECK_ALL:-}
turn=$(git rev-list --count HEAD 2>/dev/null || echo 0)
# its_turn N OF: what the commit suite does at one of so many commits
its_turn() { [ -n "$all" ] || [ $((turn % $2)) = "$1" ]; }
jobs=$(nproc)
logs=$PWD/build/check
rm -rf "$logs"
mkdir -p "$logs"
export CTEST_OUTPUT_ON_FAILURE=1 CMAKE_COLOR_DIAGNOSTICS=OFF
export ASAN_OPTIONS=${ASAN_OPTIONS:-strict_string_checks=1:detect_stack_use_after_return=1:allocator_may_return_null=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
passed=0
failed=0
started=$SECONDS

# stage NAME COMMAND...: runs it, keeps its output, counts it. A command that wrote NAME.count ("passed failed") has counted its
# own tests; any other is one test.
stage() {
	local name=$1 begin=$SECONDS status=0 good=0 bad=0
	shift
	printf '%-22s ' "$name"
	"$@" >"$logs/$name.log" 2>&1 || status=$?
	if [ -s "$logs/$name.count" ]; then
		read -r good bad <"$logs/$name.count"
		[ "$status" = 0 ] || [ "$bad" -gt 0 ] || bad=1
	elif [ "$status" = 0 ]; then
		good=1
	else
		bad=1
	fi
	passed=$((passed + good))
	failed=$((failed + bad))
	printf '%4d s  %d passed, %d failed\n' "$((SECONDS - begin))" "$good" "$bad"
	if [ "$bad" -gt 0 ]; then
		echo "---- the end of $logs/$name.log"
		grep -E 'FAILED|\*\*\*Failed|\*\*\*Timeout|error:|ERROR|violation|runtime error' "$logs/$name.log" | head -20
		tail -n 25 "$logs/$name.log"
		echo "----"
	fi
	[ "$bad" = 0 ]
}

finish() {
	printf 'took %d min %d s; logs are in build/check\n' "$(((SECONDS - started) / 60))" "$(((SECONDS - started) % 60))"
	echo "$passed passed, $failed failed"
	[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
	exit
}

# build PRESET [TARGET...]
build() {
	local preset=$1 options=()
	shift
	command -v ccache >/dev/null && options+=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
	# The presets name clang 14, the reference. A Debian without it has another one.
	if [ "$preset" != release ] && ! command -v clang-14 >/dev/null; then
		options+=(-DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++)
	fi
	cmake --preset "$preset" "${options[@]}" || return 1
	if [ $# -gt 0 ]; then
		cmake --build "build/$preset" --parallel "$jobs" --target "$@"
	else
		cmake --build "build/$preset" --parallel "$jobs"
	fi
}

build_without_tls() {
	local options=()
	command -v ccache >/dev/null && options+=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
	cmake --preset release -B build/without-tls -DHILLOCK_TLS=OFF -DHILLOCK_CLIENT_TLS=OFF "${options[@]}" || return 1
	cmake --build build/without-tls --parallel "$jobs" --target hillockd hillock
}

# tests NAME PRESET [CTEST OPTION...]
tests() {
	local name=$1 preset=$2 status=0
	shift 2
	ctest --test-dir "build/$preset" --parallel "$jobs" --timeout 300 --no-tests=error \
		--output-junit "$logs/$name.xml" "$@" || status=$?
	# <testsuite ... tests="12" failures="0" ...>; not run (no program) is a failure too.
	python3 - "$logs/$name.xml" >"$logs/$name.count" <<-'PYTHON'
		import sys, xml.etree.ElementTree as tree
		cases = list(tree.parse(sys.argv[1]).getroot().iter("testcase"))
		good = sum(case.get("status") == "run" for case in cases)
		# A test that says why it cannot run here is neither; one whose program is missing has failed.
		skipped = [s for c in cases for s in c.iter("skipped") if "SKIP_RETURN_CODE" in s.get("message", "")]
		print(good, len(cases) - good - len(skipped))
	PYTHON
	return "$status"
}

# Every fuzzer for some seconds, from the committed corpus; what it finds stays in the log's folder.
fuzz() {
	local good=0 bad=0 fuzzer name
	for fuzzer in build/fuzz/fuzz/fuzz_*; do
		[ -x "$fuzzer" ] && [ -f "$fuzzer" ] || continue
		name=${fuzzer##*/fuzz_}
		echo "== $name"
		mkdir -p "$logs/fuzz/$name"
		if "$fuzzer" -max_total_time="$fuzz_seconds" -timeout=20 -rss_limit_mb=3072 -print_final_stats=1 \
			-artifact_prefix="$logs/fuzz/$name-" "$logs/fuzz/$name" "fuzz/corpus/$name"; then
			good=$((good + 1))
		else
			bad=$((bad + 1))
			echo "FAILED: $name; repeat: $fuzzer $logs/fuzz/$name-*"
		fi
	done
	echo "$good $bad" >"$logs/fuzz.count"
	[ "$bad" = 0 ] && [ "$good" -gt 0 ]
}

# Each seed is a test; the program prints how to repeat one.
simulate() {
	local status=0
	build/release/tests/sim_broker --seeds "1..$seeds" --twice 20 --jobs "$jobs" --ms 600 || status=$?
	sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$logs/simulation.log" | tail -n 1 >"$logs/simulation.count"
	return "$status"
}

# Each planted bug is a test: caught or not.
planted() {
	local status=0 names=''
	# shellcheck disable=SC2012
	[ -n "$all" ] || names=$(ls tests/planted/*.patch | sed 's|.*/||; s|\.patch$||' | awk -v turn="$turn" '(NR + turn) % 5 == 0')
	# shellcheck disable=SC2086
	tests/planted/run.sh build/planted $names || status=$?
	sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$logs/planted-bugs.log" | tail -n 1 >"$logs/planted-bugs.count"
	return "$status"
}

stage setup tools/setup.sh test || finish
stage build-gcc build release || finish
if [ -n "$quick" ]; then
	stage test-gcc tests test-gcc release -L 'unit|tidy'
	finish
fi
stage test-gcc tests test-gcc release
if its_turn 0 3 && stage build-without-tls build_without_tls; then
	stage test-without-tls python3 tests/e2e/without_tls.py build/without-tls
fi
if stage build-clang-asan build fuzz; then
	[ -n "$all" ] || export LOG_FAULTS_STRIDE=5
	slow='^test_shard_edges$'
	its_turn 1 3 && slow='^$'
	stage test-asan tests test-asan fuzz -LE 'tidy|install|plain' -E "$slow"
	stage fuzz fuzz
fi
stage simulation simulate
stage planted-bugs planted
stage kill-9 tests/e2e/in_tempdir.sh build/release/tests/kill9 build/release/hillockd @DIR@ --runs "$kills"
if stage build-tsan build tsan thread_tests; then
	stage test-tsan tests test-tsan tsan -L 'client|threads'
fi
finish
