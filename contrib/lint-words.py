#!/usr/bin/env python3
"""Searches help, manuals, documents and messages for the expressions of contrib/plain-words.txt.

Usage: contrib/lint-words.py [FILE...]      without FILE: everything that git tracks

Of Markdown, manuals and example configurations the whole text counts; of Rust code string literals and doc comments, without tests.
"""
import re, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXTS = re.compile(r".*\.md|contrib/man/.*|contrib/.*\.(toml|conf|cnf|service|target)|Makefile")
CODE = re.compile(r"(?!tests/|fuzz/).*\.rs")
NOT = re.compile(r"THIRD-PARTY\.md|(.*/)?tests?(/.*|\.rs)|.*/model\.rs")
SPACE = r"(?:\s|\\\n|//[/!])+"
# In this order: a token ends where the next one may begin.
TOKEN = re.compile(r"""(?P<doc>//[/!][^\n]*)|//[^\n]*|/\*.*?\*/|b?r(?P<mark>\#*)"(?P<raw>.*?)"(?P=mark)|b?"(?P<text>(?:\\.|[^"\\])*)"|'(?:\\[^\n]+?|[^\\\n])'""", re.S)


def patterns():
    for line in (ROOT / "contrib/plain-words.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            expression, advice = re.split(r"\s+=>\s+", line, maxsplit=1)
            yield re.compile(rf"\b(?:{expression.replace(' ', SPACE)})\b", re.I), advice


def messages(code):
    """The code with everything blotted out that is neither a string literal nor a doc comment."""
    code = re.split(r"^#\[cfg\(test\)\]\n(?=mod )", code, maxsplit=1, flags=re.M)[0]
    blotted = list(re.sub(r"\S", "\0", code))
    for token in TOKEN.finditer(code):
        for group in ("doc", "raw", "text"):
            if token[group] is not None:
                blotted[token.start(group):token.end(group)] = token[group]
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
                    found.append((name, line, " ".join(re.sub(r"//[/!]", " ", match[0]).split()), advice))
    for name, line, words, advice in sorted(found):
        print(f'{name}:{line}: "{words}": write {advice}')
    if found:
        sys.exit(f"lint-words: {len(found)} expressions of contrib/plain-words.txt")


main()
