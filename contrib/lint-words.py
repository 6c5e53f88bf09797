#!/usr/bin/env python3
"""Searches help, manuals, documents, code and tests for the expressions of contrib/plain-words.txt.

Usage: contrib/lint-words.py [FILE...]      without FILE: everything that git tracks

Of documents and of contrib/ (manuals, scripts, configurations, SQL) the whole text counts. Of Rust code, tests included, comments,
string literals of several words and names of functions count.
"""
import re, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXTS = re.compile(r".*\.(md|sh|sql)|contrib/.*|\.ci/run|Makefile")
CODE = re.compile(r".*\.rs")
NOT = re.compile(r"THIRD-PARTY\.md|contrib/(plain-words\.txt|lint-words\.py|deb/copyright)|tests/data/.*")
SPACE = r"(?:\s|\\\n|//[/!]?)+"
# In this order: a token ends where the next one may begin.
TOKEN = re.compile(r"""(?P<comment>//[^\n]*|/\*.*?\*/)|b?r(?P<mark>\#*)"(?P<raw>.*?)"(?P=mark)|b?"(?P<text>(?:\\.|[^"\\])*)"|'(?:\\[^\n]+?|[^\\\n])'""", re.S)


def patterns():
    for line in (ROOT / "contrib/plain-words.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            expression, advice = re.split(r"\s+=>\s+", line, maxsplit=1)
            yield re.compile(rf"\b(?:{expression.replace(' ', SPACE)})\b", re.I), advice


def messages(code):
    """The code with everything blotted out except comments, string literals of several words and names of functions."""
    blotted = list(re.sub(r"\S", "\0", code))
    for token in TOKEN.finditer(code):
        for group in ("comment", "raw", "text"):
            # One word in a string is a name or a value, not a message.
            if token[group] and " " in token[group]:
                blotted[token.start(group):token.end(group)] = token[group]
    for name in re.finditer(r"\bfn (\w+)", code):
        blotted[name.start(1):name.end(1)] = name[1].replace("_", " ")
    return "".join(blotted)


def main():
    listed = sys.argv[1:] or subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    rules, found = list(patterns()), []
    for name in listed:
        is_code = CODE.fullmatch(name)
        if NOT.fullmatch(name) or not (is_code or TEXTS.fullmatch(name)) or not (ROOT / name).exists():
            continue
        text = (ROOT / name).read_text()
        lines = text.splitlines()
        text = messages(text) if is_code else text
        for rule, advice in rules:
            for match in rule.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                if "plain-words: ok" not in lines[line - 1]:
                    found.append((name, line, " ".join(re.sub(r"//[/!]?", " ", match[0]).split()), advice))
    for name, line, words, advice in sorted(found):
        print(f'{name}:{line}: "{words}": write {advice}')
    if found:
        sys.exit(f"lint-words: {len(found)} expressions of contrib/plain-words.txt")


main()
