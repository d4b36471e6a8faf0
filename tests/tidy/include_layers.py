#!/usr/bin/env python3
"""Who may include whom: wire <- storage <- broker, wire <- clientlib <- tools; fuzz and tests may include all."""

import re

import tidy

ALLOWED = {
    "wire": {"wire"},
    "storage": {"storage", "wire"},
    "broker": {"broker", "storage", "wire"},
    "clientlib": {"clientlib", "wire"},
    "tools": {"tools", "clientlib", "wire"},
}

findings, looked_at = [], 0
for path in tidy.files(ALLOWED):
    folder = path.relative_to(tidy.ROOT).parts[0]
    text = tidy.strip(path.read_text(), keep_strings=True)
    for line, match in tidy.matches(path, r'(?m)^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', text):
        looked_at += 1
        target = (path.parent / match.group(1)).resolve()
        if not target.is_relative_to(tidy.ROOT) or not target.exists():
            if match.group(1) != "hillock_generated.h":  # built from wire/schema
                findings.append(f"{tidy.name(path)}:{line}: no such file of ours: {match.group(1)}")
            continue
        into = target.relative_to(tidy.ROOT).parts[0]
        if into not in ALLOWED[folder]:
            findings.append(f"{tidy.name(path)}:{line}: {folder}/ may not include {into}/ ({match.group(1)})")
    if re.search(r'(?m)^[ \t]*#[ \t]*include[ \t]+<(hillock|uv|zmq)', text):
        findings.append(f"{tidy.name(path)}: includes one of ours or a foreign event loop with <>")
    # An example is a program of a user: it includes the installed header and nothing inside.
    if "examples" in path.parts and re.search(r'#[ \t]*include[ \t]+"\.\./\.\.', text):
        findings.append(f"{tidy.name(path)}: an example includes what is not installed")
tidy.report("include layers", findings, looked_at)
