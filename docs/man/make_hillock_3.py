#!/usr/bin/env python3
"""Makes docs/man/hillock.3 from clientlib/hillock.h, so that the page and the header cannot drift apart.

Usage: docs/man/make_hillock_3.py > docs/man/hillock.3. tests/tidy/docs_complete.py compares the two."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in text.split("\n"))


def comment(text):
    """The words of a comment, one paragraph for each blank line in it."""
    text = re.sub(r"^/\*|\*/$", "", text.strip())
    lines = [re.sub(r"^\s*\*? ?", "", line).rstrip() for line in text.split("\n")]
    return escape("\n".join(line if line else ".PP" for line in lines)).replace("\\&.PP", ".PP").strip()


def page():
    header = (ROOT / "clientlib/hillock.h").read_text()
    version = re.search(r"project\(hillock VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
    intro, rest = re.match(r"(/\*.*?\*/)(.*)", header, re.S).groups()
    intro = intro.replace("/* hillock.h: the client library of Hillock, a durable task broker.", "/*")
    out = [f'.\\" made from clientlib/hillock.h by docs/man/make_hillock_3.py\n.TH HILLOCK 3 "" "Hillock {version}" "Library Functions"',
           ".SH NAME\nhillock \\- the client library of Hillock, a durable task broker",
           ".SH SYNOPSIS\n.nf\n.B #include <hillock.h>\n.PP\n.B cc program.c $(pkg\\-config \\-\\-cflags \\-\\-libs hillock)\n.fi",
           ".SH DESCRIPTION\n" + comment(intro)]
    rest = rest[:rest.rindex("#ifdef __cplusplus")]
    for part in re.findall(r'^#include "(hillock_\w+\.h)"$', header, re.M):
        more = (ROOT / "clientlib" / part).read_text()
        rest += more[more.index("/* ----"):more.rindex("#ifdef __cplusplus")]
    sections = re.split(r"/\* -{20,} (.*?) \*/\n", rest)
    for title, body in zip(sections[1::2], sections[2::2]):
        out.append(f".SH {escape(title.split(' (')[0]).upper()}")
        if "(" in title:
            out.append(escape(title[title.index("(") + 1:].rstrip(")")) + ".")
        for block in re.split(r"\n\s*\n", body.strip()):
            lead = re.match(r"(/\*.*?\*/)\s*(.*)", block, re.S)
            if lead and lead.group(2):
                out.append(".PP\n" + comment(lead.group(1)))
                block = lead.group(2)
            elif lead:
                out.append(".PP\n" + comment(lead.group(1)))
                continue
            block = block.replace("HLK_API ", "").replace("\t", "    ")
            out.append(".PP\n.nf\n" + escape(block) + "\n.fi")
    out.append(".SH EXAMPLES\nclientlib/examples in the sources: submit, await, a worker in one function, event\\-loop mode, and a unit "
               "test of a worker with mock://.")
    out.append(".SH SEE ALSO\n.BR hillock (1),\n.BR hillockd (8)")
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
