"""What the style checks share: the tree, C text without comments and strings, and how findings are told."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CODE = ("wire", "storage", "broker", "clientlib", "tools", "fuzz", "tests")


def files(folders=CODE, suffixes=(".c", ".h", ".cc", ".hh")):
    """Source files below the folders, in a fixed order."""
    found = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.suffix in suffixes and p.is_file()]
    return sorted(found)


def name(path):
    return str(path.relative_to(ROOT))


_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def strip(text, keep_strings=False):
    """C text without comments (and contents of strings), with every line where it was."""

    def blank(match):
        token = match.group(0)
        if token[0] in "\"'":
            return token if keep_strings else token[0] + token[0]
        return re.sub(r"[^\n]", " ", token)

    return _TOKEN.sub(blank, text)


def matches(path, pattern, text):
    """(line number, match) for each match in stripped text."""
    for match in re.finditer(pattern, text):
        yield text.count("\n", 0, match.start()) + 1, match


def report(title, findings, looked_at):
    """Prints findings and ends the program: 0 = none. Having looked at nothing is a failure too."""
    for finding in findings:
        print(finding)
    if not looked_at:
        print(f"{title}: nothing was looked at")
        sys.exit(1)
    print(f"{title}: {looked_at} looked at, {len(findings)} findings")
    sys.exit(1 if findings else 0)
