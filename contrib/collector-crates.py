#!/usr/bin/env python3
"""Checks that each crate that is linked into the collector, or runs while it is built, was looked at by a maintainer.

Usage: contrib/collector-crates.py           fails if contrib/collector-crates.txt does not match Cargo.lock
       contrib/collector-crates.py --write   adds new crates and versions with "?", drops what is gone, and prints where
                                             each new one lies and what to look for in it

The collector is the only program with CAP_NET_RAW. The list is what `cargo vet` would keep, without its server and its imports:
for each crate version who publishes it and what it is there for. A new version gets in when its "?" is replaced.
"""
import json, os, re, sys
from pathlib import Path

sys.dont_write_bytecode = True # no files beside the scripts
from licences import ROOT, TARGET, cargo

LIST = Path(os.environ.get("COLLECTOR_CRATES") or ROOT / "contrib/collector-crates.txt")
HEAD = """# Crates that are linked into the collector, or run while it is built: contrib/collector-crates.py compares them with
# Cargo.lock. Look at a new version before its "?" becomes a word: what changed (cargo's source, the project's list of changes),
# who published it, whether it has new unsafe code, build scripts, files or sockets. Of the versions of 2026-11-28 it was looked at
# what each is for, who publishes it and what the build scripts start; their code was not read line by line.
# crate version publisher purpose
"""
# What a crate that only computes has no need of.
NOTABLE = {"unsafe": r"\bunsafe\b", "processes": r"std::process|Command::new", "sockets": r"std::net|UnixStream", "files": r"std::fs|File::open", "environment": r"env::var"}


def used():
    tree = cargo("tree", "--package", "collector", "--edges", "normal,build", "--target", TARGET, "--prefix", "none", "--no-dedupe", "--format", "{p}")
    return {tuple(line.split()[:2]) for line in tree.splitlines() if line.strip() and "(/" not in line}


def listed():
    lines = [line.split(maxsplit=3) for line in LIST.read_text().splitlines() if line.strip() and not line.startswith("#")] if LIST.exists() else []
    return {(line[0], "v" + line[1]): line[2:] for line in lines}


def facts(package):
    directory = Path(package["manifest_path"]).parent
    text = "".join(path.read_text(errors="replace") for path in directory.rglob("*.rs") if "tests" not in path.parts)
    found = [f"{what} {len(re.findall(pattern, text))}" for what, pattern in NOTABLE.items() if re.search(pattern, text)]
    kinds = {kind for target in package["targets"] for kind in target["kind"]}
    return ", ".join([*(kind for kind in ("custom-build", "proc-macro") if kind in kinds), *found]) or "only computes", directory


def main():
    now, known = used(), listed()
    if sys.argv[1:] == ["--write"]:
        packages = {(one["name"], "v" + one["version"]): one for one in json.loads(cargo("metadata", "--format-version", "1"))["packages"]}
        rows = []
        for name, version in sorted(now):
            if (name, version) not in known:
                what, directory = facts(packages[name, version])
                print(f"{name} {version}: {what}: {directory}")
            owner = re.match(r"https?://[^/]+/([^/]+)", packages[name, version]["repository"] or "")
            publisher, purpose = known.get((name, version)) or (owner[1] if owner else "?", "?")
            rows.append(f"{name} {version[1:]} {publisher} {purpose}\n")
        LIST.write_text(HEAD + "".join(rows))
        return
    wrong = [f"{name} {version[1:]} is new" for name, version in sorted(now - set(known))]
    wrong += [f"{name} {version[1:]} is not used any more" for name, version in sorted(set(known) - now)]
    wrong += [f"{name} {version[1:]} was not looked at" for (name, version), row in sorted(known.items()) if len(row) < 2 or "?" in (row[0], row[1].strip())]
    if wrong:
        sys.exit("collector-crates: " + "; ".join(wrong) + " (run contrib/collector-crates.py --write, look, and replace each \"?\")")
    print(f"collector-crates: {len(now)} crates")


main()
