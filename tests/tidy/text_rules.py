#!/usr/bin/env python3
"""Rules of the text: size of files and lines, banned calls, leftovers, the comment that opens each file, spaces."""

import re

import tidy

LINES_MAX = 800
COLUMNS_MAX = 140  # 100 is the aim; a table may need more
BANNED = r"(?<![\w.>])(strcpy|strcat|strncat|sprintf|vsprintf|gets|strtok|alloca)\s*\("
LEFTOVER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")

findings, looked_at = [], 0
for path in tidy.files():
    looked_at += 1
    where = tidy.name(path)
    text = path.read_text()
    lines = text.split("\n")
    if len(lines) > LINES_MAX:
        findings.append(f"{where}: {len(lines)} lines; split it ({LINES_MAX} is the limit)")
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS_MAX:
            findings.append(f"{where}:{number}: {len(line)} columns ({COLUMNS_MAX} is the limit)")
        if line != line.rstrip():
            findings.append(f"{where}:{number}: spaces at the end")
        if LEFTOVER.search(line):
            findings.append(f"{where}:{number}: a leftover note; finish it or take it out")
    if text and not text.endswith("\n"):
        findings.append(f"{where}: no line end at the end")
    if not text.lstrip().startswith(("/*", "//")):
        findings.append(f"{where}: no comment at the top that says what it owns")
    for line, match in tidy.matches(path, BANNED, tidy.strip(text)):
        findings.append(f"{where}:{line}: {match.group(1)}() is banned")
    if path.suffix == ".c" and re.search(r"\bENSURE\s*\([^;]*[^=!<>]=[^=][^;]*\)\s*;", tidy.strip(text)):
        for line, match in tidy.matches(path, r"\bENSURE\s*\(\s*\w+\s*=[^=]", tidy.strip(text)):
            findings.append(f"{where}:{line}: an assignment in ENSURE")
tidy.report("text rules", findings, looked_at)
