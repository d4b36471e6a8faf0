#!/usr/bin/env python3
"""Installs the build into an empty prefix and uses it as a stranger would.

Usage: test_install.py BUILD_DIR. Checks that the files are where they belong, that a C program builds against the shared and
the static library with plain cc through pkg-config and through find_package(Hillock), that neither needs a C++ run
time, and that the installed example configuration is exactly what hillockd prints and accepts."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(sys.argv[1]).resolve()
HERE = pathlib.Path(__file__).resolve().parent
EXPECTED = (
    r"bin/hillock", r"sbin/hillockd", r"include/hillock\.h", r"include/hillock_access\.h", r"include/hillock_blob\.h",
    r"include/hillock_types\.h", r"include/hillock_bridge\.h", r"lib.*/libhillock\.a", r"lib.*/libhillock\.so",
    r"lib.*/libhillock\.so\.0", r"lib.*/pkgconfig/hillock\.pc", r"lib.*/cmake/Hillock/HillockConfig\.cmake",
    r"sbin/hillock-ocsp", r"lib/systemd/system/hillock-ocsp\.(service|timer)", r"lib/systemd/system/hillockd\.service", r"lib/sysusers\.d/hillock\.conf", r"share/doc/hillock/hillockd\.conf",
    r"share/doc/hillock/LICENSE", r"share/man/man1/hillock\.1", r"share/man/man8/hillockd\.8", r"share/man/man3/.*\.3",
)


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def check(condition, text):
    if not condition:
        sys.exit(f"failed: {text}")
    print(f"ok: {text}")


def no_cxx(path):
    needed = run("ldd", path)
    check("libstdc++" not in needed and "libgcc_s" not in needed, f"{path.name} needs no C++ run time")


def main(prefix, work):
    run("cmake", "--install", BUILD, "--prefix", prefix)
    present = [str(p.relative_to(prefix)) for p in sorted(prefix.rglob("*")) if not p.is_dir()]
    for pattern in EXPECTED:
        check(any(re.fullmatch(pattern, name) for name in present), f"installed: {pattern}")
    for name in present:
        check(any(re.fullmatch(p, name) for p in EXPECTED) or re.match(r"(share/|lib.*/(cmake|libhillock))", name),
              f"{name} is a file we meant to install")

    library = next(p for p in prefix.rglob("libhillock.so"))
    no_cxx(library)
    undefined = run("nm", "-D", "-u", library)
    check(not re.search(r"\b_Z|__cxa_(?!finalize)|__gxx", undefined), "the shared library asks for no C++ symbol")
    exported = re.findall(r" [TDB] (\w+)", run("nm", "-D", "--defined-only", library))
    check(exported and all(name.startswith("hlk_") for name in exported), f"it exports only hlk_ ({len(exported)} functions)")

    symbols = re.findall(r" ([A-Z]) (\w+)", run("nm", "--defined-only", library.parent / "libhillock.a"))
    inside = [name for kind, name in symbols if not name.startswith("hlk_")]
    check(symbols and not inside, f"the archive defines only hlk_ for others, too {inside[:3]}")

    env = dict(os.environ, PKG_CONFIG_PATH=str(library.parent / "pkgconfig"))
    flags = run("pkg-config", "--define-prefix", "--cflags", "--libs", "hillock", env=env).split()
    shared = work / "shared"
    run("cc", "-Wall", "-Wextra", "-Werror", "-std=c11", HERE / "consumer.c", "-o", shared, *flags)
    no_cxx(shared)
    run(shared, env=dict(os.environ, LD_LIBRARY_PATH=str(library.parent)))
    check(True, "a program of plain C runs against the shared library (pkg-config)")
    static = work / "static"
    flags = [flag for flag in run("pkg-config", "--define-prefix", "--static", "--cflags", "--libs", "hillock", env=env).split() if flag != "-lhillock"]
    run("cc", "-std=c11", HERE / "consumer.c", "-o", static, library.parent / "libhillock.a", *flags)
    no_cxx(static)
    run(static)
    check("libhillock" not in run("ldd", static), "a program of plain C runs against the archive")

    (work / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(consumer LANGUAGES C)\nfind_package(Hillock 0.1 REQUIRED)\n"
        f"add_executable(consumer {HERE}/consumer.c)\ntarget_link_libraries(consumer PRIVATE Hillock::hillock)\n"
        f"add_executable(consumer_static {HERE}/consumer.c)\n"
        "target_link_libraries(consumer_static PRIVATE Hillock::hillock_static)\n")
    run("cmake", "-S", work, "-B", work / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", work / "build")
    run(work / "build/consumer")
    run(work / "build/consumer_static")
    check(True, "programs build through find_package(Hillock) and run")

    daemon = prefix / "sbin/hillockd"
    example = (prefix / "share/doc/hillock/hillockd.conf").read_text()
    check(run(daemon, "--print-config") == example, "the example configuration is what hillockd --print-config says")
    run(daemon, "--config", prefix / "share/doc/hillock/hillockd.conf", "--check-config")
    check(True, "hillockd accepts it")
    check(run(daemon, "--version") == "hillockd 0.1.0\n", "hillockd --version")
    unit = (prefix / "lib/systemd/system/hillockd.service").read_text()
    check(re.search(r"(?m)^ExecStart=/\S*/sbin/hillockd ", unit), "the unit starts the installed program")
    # Exposure 2.0 at most, in tenths. Offline: nothing of this machine is asked.
    if shutil.which("systemd-analyze"):
        run("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager",
            prefix / "lib/systemd/system/hillockd.service")
        check(True, "systemd-analyze security: the unit's exposure is 2.0 at most")


with tempfile.TemporaryDirectory(prefix="hillock_install_") as scratch:
    directory = pathlib.Path(scratch)
    (directory / "prefix").mkdir()
    (directory / "work").mkdir()
    main(directory / "prefix", directory / "work")
