#!/usr/bin/env python3
"""Every function of a public header has a comment: above it, beside it, or above the group it stands in.

Rough on purpose: a group is a run of declarations without a blank line between them."""

import re

import tidy

HEADERS = ("wire", "storage", "broker", "clientlib")
DECLARATION = re.compile(r"^(?!static|typedef|#|\s|//|/\*|\}|struct \w+ \{|enum \w+ \{)[A-Za-z_][\w *]*?\b(\w+)\(", re.M)

findings, looked_at = [], 0
for path in tidy.files(HEADERS, (".h",)):
    for block in re.split(r"\n\s*\n", path.read_text()):
        code = tidy.strip(block)
        for match in DECLARATION.finditer(code):
            if re.search(r"_(new|free)$", match.group(1)):
                continue  # the name says it all
            if match.group(1).isupper() or ";" not in code[match.start():]:
                continue
            looked_at += 1
            if "/*" not in block and "//" not in block:
                findings.append(f"{tidy.name(path)}: {match.group(1)}() is not explained")
tidy.report("public headers", findings, looked_at)
