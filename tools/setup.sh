#!/bin/sh
# tools/setup.sh [runtime|build|test]: installs the Debian packages that are missing, and nothing else.
#
#   runtime  what an installed hillockd and hillock need
#   build    what compiles them (the default)
#   test     what ./tools/check.sh needs on top of that
#
# Works on Debian 12 and 13, as root or through sudo, without standard input. When everything is there it only
# looks (dpkg-query) and ends at once. No mirror is named here: the machine's own apt sources decide.
#
# Debian 12 carries libraft 0.15, which is unsafe; 0.22.1 is in its backports. They are added from the same mirror
# that serves main, pinned so that only libraft comes from there.
set -eu

LIBRAFT_MIN=0.22.1

WOLFSSL_MIN=5.5.4-2+deb12u3 # an earlier one of Debian 12 takes forged certificates

packages_runtime="libconfuse2 libjansson4"
packages_build="$packages_runtime gcc g++ libc6-dev make cmake ninja-build pkg-config ccache flatbuffers-compiler
	libflatbuffers-dev liburing-dev libraft-dev libconfuse-dev libjansson-dev libxxhash-dev libwolfssl-dev
	libcurl4-openssl-dev"
# AES-GCM for TLS, some 50 times faster; looked for at run time.
[ "$(dpkg --print-architecture 2>/dev/null || true)" != amd64 ] || packages_build="$packages_build libipsec-mb-dev"
packages_test="$packages_build openssl gnutls-bin libcmocka-dev python3 procps util-linux file patch systemd"

usage() {
	sed -n '2,6s/^# \{0,1\}//p' "$0"
	exit "$1"
}

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "this needs root: run it as root, or install sudo"
	fi
}

apt() {
	# env, because sudo drops the caller's environment.
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
		-o Acquire::Retries=3 "$@" </dev/null
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true)" = installed ]; }

libraft_good() {
	version=$(dpkg-query -W -f '${Version}' libraft-dev 2>/dev/null) && dpkg --compare-versions "$version" ge "$LIBRAFT_MIN"
}

# clang 14 is the reference; a release without it gets its default clang.
clang_packages() {
	if installed clang-14 || apt-cache show clang-14 >/dev/null 2>&1; then
		echo "clang-14 libclang-rt-14-dev llvm-14 clang-format-14"
	else
		echo "clang libclang-rt-dev llvm clang-format"
	fi
}

# The number in its name is that of the release: 35 in Debian 12.
wolfssl_runtime() {
	name=$(dpkg-query -W -f '${Package}\n' 'libwolfssl[0-9]*' 2>/dev/null | head -n 1)
	[ -n "$name" ] || name=$(apt-cache pkgnames libwolfssl | grep -E '^libwolfssl[0-9]+(t64)?$' | sort | tail -n 1)
	echo "${name:-libwolfssl35}"
}

# Debian 13 calls it otherwise: the same library, with a time_t of 64 bits where that was not so.
curl_runtime() {
	if installed libcurl4t64 || { ! installed libcurl4 && apt-cache show libcurl4t64 >/dev/null 2>&1; }; then
		echo libcurl4t64
	else
		echo libcurl4
	fi
}

missing() {
	for package in "$@"; do
		if ! installed "$package"; then
			echo "$package"
		elif [ "$package" = libraft-dev ] && ! libraft_good; then
			echo "$package"
		elif [ "$package" = libwolfssl-dev ] && ! dpkg --compare-versions "$(dpkg-query -W -f '${Version}' libwolfssl-dev)" ge "$WOLFSSL_MIN"; then
			echo "$package"
		fi
	done
}

# The mirror of main that this machine already uses: works for deb822 and one-line sources, proxies and file: alike,
# but only after apt-get update.
main_mirror() {
	apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
		awk -v codename="$1" '$1 == codename && $2 == "main" { print $3; exit }'
}

libraft_candidate_good() {
	candidate=$(LC_ALL=C apt-cache policy libraft-dev | awk '$1 == "Candidate:" { print $2; exit }')
	[ -n "$candidate" ] && [ "$candidate" != "(none)" ] && dpkg --compare-versions "$candidate" ge "$LIBRAFT_MIN"
}

# Makes apt's candidate for libraft-dev a safe one.
offer_libraft() {
	libraft_candidate_good && return 0
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	[ -n "$codename" ] || die "cannot tell which Debian this is (/etc/os-release has no VERSION_CODENAME)"
	suite=$codename-backports
	say "libraft $LIBRAFT_MIN comes from $suite; nothing else does"
	printf 'Package: libraft-dev libraft0\nPin: release n=%s\nPin-Priority: 990\n' "$suite" |
		as_root tee /etc/apt/preferences.d/hillock-libraft >/dev/null
	libraft_candidate_good && return 0
	mirror=$(main_mirror "$codename")
	[ -n "$mirror" ] || die "apt knows no mirror of $codename main to derive $suite from"
	printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$mirror" "$suite" \
		/usr/share/keyrings/debian-archive-keyring.gpg |
		as_root tee /etc/apt/sources.list.d/hillock-backports.sources >/dev/null
	apt update
	libraft_candidate_good || die "$mirror offers no libraft-dev >= $LIBRAFT_MIN in $suite"
}

case ${1:-build} in
runtime) wanted="$packages_runtime $(wolfssl_runtime) $(curl_runtime)" ;;
build) wanted=$packages_build ;;
test) wanted=$packages_test ;;
-h | --help) usage 0 ;;
*) usage 1 >&2 ;;
esac
command -v dpkg-query >/dev/null || die "this is not a Debian system; install by hand: $packages_build"

updated=
need_clang=
[ "${1:-build}" != test ] || need_clang=yes
# Word splitting is meant: the sets are lists of package names.
# shellcheck disable=SC2046,SC2086
{
	if [ -n "$need_clang" ] && ! installed clang-14 && ! installed clang; then
		say "apt-get update"
		apt update
		updated=yes
	fi
	[ -z "$need_clang" ] || wanted="$wanted $(clang_packages)"
	todo=$(missing $wanted)
	if [ -z "$todo" ]; then
		say "everything for '${1:-build}' is here"
		exit 0
	fi
	if [ -z "$updated" ]; then
		say "apt-get update"
		apt update
	fi
	case " $(echo $todo) " in *" libraft-dev "*) offer_libraft ;; esac
	say "installing:" $todo
	apt install -y --no-install-recommends $todo
	todo=$(missing $wanted)
	[ -z "$todo" ] || die "still missing after the install:" $todo
}
say "everything for '${1:-build}' is here"
