"""Reads the YAML that the operator writes: block maps and lists, plain and quoted scalars, block texts. Nothing more."""

import json
import re


def read(text):
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    value, rest = node(lines, 0)
    assert not rest, rest[:1]
    return value


def indent(line):
    return len(line) - len(line.lstrip(" "))


def node(lines, least):
    if not lines or indent(lines[0]) < least:
        return None, lines
    at = indent(lines[0])
    return (sequence if re.match(r" *- ", lines[0]) or lines[0].strip() == "-" else mapping)(lines, at)


def sequence(lines, at):
    values = []
    while lines and indent(lines[0]) == at and lines[0].lstrip().startswith("-"):
        first = lines[0][at + 1:].strip()
        if re.match(r"[\w.$/\"'-]+: ?", first) or first.endswith(":"):
            value, lines = mapping([" " * (at + 2) + first, *lines[1:]], at + 2)
        else:
            value, lines = scalar(first, lines[1:], at)
        values.append(value)
    return values, lines


def mapping(lines, at):
    values = {}
    while lines and indent(lines[0]) == at and not lines[0].lstrip().startswith("- "):
        found = re.match(r" *(\"[^\"]*\"|[^:]+):(?: (.*))?$", lines[0])
        key, rest = found[1].strip('"'), (found[2] or "").strip()
        if rest:
            values[key], lines = scalar(rest, lines[1:], at)
        elif len(lines) > 1 and lines[1].lstrip().startswith("- ") and indent(lines[1]) == at:
            values[key], lines = sequence(lines[1:], at)
        else:
            values[key], lines = node(lines[1:], at + 1)
    return values, lines


def scalar(text, lines, at):
    if text[0] in "|>":
        block = []
        while lines and indent(lines[0]) > at:
            block.append(lines[0])
            lines = lines[1:]
        cut = min(map(indent, block)) if block else 0
        joined = ("\n" if text[0] == "|" else " ").join(line[cut:] for line in block)
        return joined + ("" if text.endswith("-") else "\n"), lines
    if text[0] == '"':
        return json.loads(text), lines
    if text[0] == "'":
        return text[1:-1].replace("''", "'"), lines
    if text in ("[]", "{}"):
        return json.loads(text), lines
    return (int(text) if re.fullmatch(r"-?\d+", text) else {"true": True, "false": False, "null": None}.get(text, text)), lines
