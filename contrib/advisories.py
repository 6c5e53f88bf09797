#!/usr/bin/env python3
"""Checks that no crate in Cargo.lock has a known vulnerability, and that each exception in deny.toml is dated.

Usage: contrib/advisories.py             for every day: without the advisory database, and for an exception that has
                                         expired, it warns
       contrib/advisories.py --release   before a release: both are failures
       contrib/advisories.py --dates     looks at the exceptions only

The database is a git repository of RustSec, which changes from day to day. There is no copy of it here: an old copy would
report that all is well. Where it cannot be reached, a copy fetched in the last 90 days (cargo deny's limit) is used; where there
is none, nothing is checked, and the output says so. With CI=true it says so between two lines of `=`, and does not fail: continuous
integration may have no network. DENY_TOML: another file of rules.
"""
import datetime, os, re, subprocess, sys, tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RULES = Path(os.environ.get("DENY_TOML") or ROOT / "deny.toml")
MOST_DAYS = 190
LINE = "=" * 100
is_release = sys.argv[1:] == ["--release"]
failures = []


def weak(text):
    """A failure before a release, a warning on other days."""
    print(f"advisories: {text}")
    if is_release:
        failures.append(text)
    elif os.environ.get("CI") == "true":
        print(f"{LINE}\n=== WARNING: advisories: {text}\n{LINE}", file=sys.stderr, flush=True)


def deny(*arguments):
    return subprocess.run(["cargo", "deny", "--locked", "--config", RULES, *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def check_dates():
    today = datetime.date.today()
    for entry in tomllib.loads(RULES.read_text())["advisories"]["ignore"]:
        dated = isinstance(entry, dict) and re.match(r"until (\d{4}-\d\d-\d\d): \S", entry.get("reason", ""))
        if not dated:
            failures.append(f"deny.toml: {entry}: an exception needs `reason = \"until YYYY-MM-DD: why\"`")
            continue
        left = (datetime.date.fromisoformat(dated[1]) - today).days
        if left > MOST_DAYS:
            failures.append(f"deny.toml: {entry['id']}: an exception holds for six months at most")
        elif left < 0:
            weak(f"deny.toml: the exception {entry['id']} has expired on {dated[1]} (look again: update the crate, or give a new date)")


def check_database():
    fetched = deny("fetch", "db").returncode == 0
    checked = deny("--offline", "check", "--hide-inclusion-graph", "advisories")
    why = re.search(r"\[ERROR\] (.*)", checked.stdout)
    if why and " config " in why[1]:
        print(checked.stdout.strip())
        failures.append("cargo deny cannot read its rules (correct deny.toml)")
        return
    if why and not fetched and re.search(r"FETCH_HEAD|advisory|database|fetch", why[1]):
        weak(f"NOT CHECKED: the advisory database cannot be fetched, and there is no copy of it ({why[1]}; run this where github.com can be reached)")
        return
    if not fetched:
        weak("the advisory database cannot be fetched: the last copy is used")
    print(checked.stdout.strip())
    if checked.returncode != 0:
        failures.append("a crate has an advisory (update it, or add a dated exception to deny.toml)")


if sys.argv[1:] not in ([], ["--release"], ["--dates"]):
    sys.exit(__doc__)
check_dates()
if sys.argv[1:] != ["--dates"]:
    check_database()
if failures:
    sys.exit("\n".join(f"advisories: {text}" for text in failures))
