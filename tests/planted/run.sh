#!/bin/sh
# tests/planted/run.sh: proves that the tests can fail. Each *.patch here plants one known bug; its header names the program that
# must catch it ("Caught-by: PROGRAM ARGS"). The patch is applied to a copy of the tree, built, and the program must fail.
#
#	tests/planted/run.sh BUILD_DIR [NAME ...]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
[ $# -ge 1 ] || { echo "usage: $0 BUILD_DIR [NAME ...]" >&2; exit 1; }
mkdir -p "$1"
work=$(cd "$1" && pwd)
shift
copy=$work/src
rm -rf "$copy"
mkdir -p "$copy"
(cd "$top" && tar -cf - --exclude=./build --exclude=./.git .) | tar -xf - -C "$copy"
launcher=
if command -v ccache >/dev/null 2>&1; then
	launcher="-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache"
fi
# shellcheck disable=SC2086
cmake -G Ninja -S "$copy" -B "$work/build" -DCMAKE_BUILD_TYPE=RelWithDebInfo $launcher >"$work/configure.log" 2>&1 || {
	cat "$work/configure.log" >&2
	exit 1
}
passed=0
failed=0
for patch in "$here"/*.patch; do
	name=$(basename "$patch" .patch)
	if [ $# -gt 0 ]; then
		case " $* " in *" $name "*) ;; *) continue ;; esac
	fi
	caught_by=$(sed -n 's/^Caught-by: //p' "$patch" | head -n 1)
	program=${caught_by%% *}
	arguments=${caught_by#"$program"}
	if ! patch -d "$copy" -p1 --no-backup-if-mismatch -s <"$patch"; then
		echo "planted $name: the patch no longer applies"
		failed=$((failed + 1))
		continue
	fi
	start=$(date +%s)
	if ! ninja -C "$work/build" "$program" >"$work/$name.build.log" 2>&1; then
		echo "planted $name: does not build (see $work/$name.build.log)"
		failed=$((failed + 1))
	else
		binary=$(find "$work/build" -type f -name "$program" -perm -u+x | head -n 1)
		# shellcheck disable=SC2086
		if (cd "$work" && timeout 200 "$binary" $arguments) >"$work/$name.log" 2>&1; then
			echo "planted $name: NOT caught by $caught_by"
			failed=$((failed + 1))
		else
			echo "planted $name: caught by $program in $(($(date +%s) - start)) s (build and run)"
			passed=$((passed + 1))
		fi
	fi
	patch -d "$copy" -p1 -R --no-backup-if-mismatch -s <"$patch"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
