#!/usr/bin/env python3
"""What the documents must not leave out: every error code, every promise with a test that exists, links that lead somewhere."""

import re
import runpy

import tidy

findings, looked_at = [], 0
docs = tidy.ROOT / "docs"

# Every code of the error table is in the protocol, name and number in one line.
protocol = (docs / "protocol.md").read_text().splitlines()
for name, code in re.findall(r"\bX\((\w+), (\d+), [01], \"", (tidy.ROOT / "wire/err.h").read_text()):
    looked_at += 1
    if not any(re.search(rf"\b{name}\b", line) and re.search(rf"\b{code}\b", line) for line in protocol):
        findings.append(f"docs/protocol.md: error {name} ({code}) is missing")

# Every promise is numbered and names a test: a file of tests/ or fuzz/, or a named test inside one (`file: name`).
guarantees = (docs / "guarantees.md").read_text()
numbers = [int(n) for n in re.findall(r"(?m)^### (\d+)\. ", guarantees)]
if not numbers or numbers != sorted(set(numbers)) or not set(numbers) <= set(range(1, 13)):
    findings.append(f"docs/guarantees.md: promises are numbered {numbers}")
for section in re.split(r"(?m)^### ", guarantees)[1:]:
    looked_at += 1
    if not re.search(r"`(?:tests|fuzz|clientlib)/[^`]+`", section):
        findings.append(f"docs/guarantees.md: promise '{section.splitlines()[0]}' names no test")
for path, inner in re.findall(r"`((?:tests|fuzz|clientlib|tools)/[\w./-]+\.\w+)(?:: (\w+))?`", guarantees):
    looked_at += 1
    target = tidy.ROOT / path
    if not target.exists():
        findings.append(f"docs/guarantees.md: {path} does not exist")
    elif inner and not re.search(rf"\b{inner}\b", target.read_text()):
        findings.append(f"docs/guarantees.md: {path} has no {inner}")

# The manual page of the library says what its header says.
looked_at += 1
if (docs / "man/hillock.3").read_text() != runpy.run_path(str(docs / "man/make_hillock_3.py"))["page"]():
    findings.append("docs/man/hillock.3 is older than clientlib/hillock.h: run docs/man/make_hillock_3.py > docs/man/hillock.3")

# Relative links.
for page in [tidy.ROOT / "README.md", *sorted(docs.rglob("*.md"))]:
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        looked_at += 1
        if not re.match(r"\w+:", link) and not (page.parent / link).exists():
            findings.append(f"{tidy.name(page)}: link to {link} leads nowhere")
tidy.report("documents", findings, looked_at)
