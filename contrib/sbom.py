#!/usr/bin/env python3
"""Prints what the installed programs contain, as a software bill of materials: CycloneDX 1.5, JSON (ECMA-424).

Usage: contrib/sbom.py PROGRAM...       the programs, as `make build` builds them

Input: `cargo tree`, `cargo metadata` and Cargo.lock, as in contrib/licences.py. A program "depends on" all crates that are
linked into it, direct or not: that is what one asks when an advisory names a crate. The hash of a crate is that of its file at
crates.io. What a crate has in C is a component of its own. Libraries of the system are not in it: they are dependencies of the package.
The same commit gives the same text: its time is SOURCE_DATE_EPOCH, or that of the last commit.
"""
import datetime, hashlib, json, os, re, subprocess, sys, tomllib, uuid
from pathlib import Path

sys.dont_write_bytecode = True # no files beside the scripts
from licences import ROOT, TARGET, cargo, crates

# Programs that need no SQLite: `make build` builds them together, apart from the others (see there).
LIGHT = re.search(r"(?m)^WITHOUT_SQLITE = (.*)", (ROOT / "Makefile").read_text())[1].split()


def linked(programs):
    """The crates of each program: name and version. Programs that are built together share the features of crates."""
    tree = cargo("tree", *(f"--package={name}" for name in programs), "--edges", "normal,no-proc-macro", "--target", TARGET,
                 "--prefix", "depth", "--no-dedupe", "--format", " {p}")
    found = {}
    for line in tree.splitlines():
        depth, name, version = line.split()[:3] if line.strip() else ("", "", "")
        if depth == "0":
            found[name] = crates_of = set()
        elif depth:
            crates_of.add((name, version.removeprefix("v")))
    return found


def purl(name, version):
    return f"pkg:cargo/{name}@{version.replace('+', '%2B')}"


def component(crate, checksums):
    reference = purl(crate.name, crate.version)
    return {"type": "library", "bom-ref": reference, "name": crate.name, "version": crate.version, "purl": reference,
            "hashes": [{"alg": "SHA-256", "content": checksums[crate.name, crate.version]}],
            "licenses": [{"expression": " AND ".join(crate.licences)}],
            "externalReferences": [{"type": "vcs", "url": crate.home}]}


def bundled(crate):
    """SQLite's C source, in its crate."""
    header = (crate.directory / "sqlite3/sqlite3.h").read_text()
    version = re.search(r'#define SQLITE_VERSION\s+"(.*)"', header)[1]
    reference = f"pkg:generic/sqlite@{version}"
    return {"type": "library", "bom-ref": reference, "name": "sqlite", "version": version, "purl": reference,
            "cpe": f"cpe:2.3:a:sqlite:sqlite:{version}:*:*:*:*:*:*:*", "licenses": [{"license": {"name": "public domain"}}]}


def main(programs):
    lock = (ROOT / "Cargo.lock").read_text()
    checksums = {(entry["name"], entry["version"]): entry.get("checksum") for entry in tomllib.loads(lock)["package"]}
    version = re.search(r'(?m)^version = "(.*)"', (ROOT / "Cargo.toml").read_text())[1]
    contents = linked([name for name in programs if name in LIGHT]) if set(programs) & set(LIGHT) else {}
    others = [name for name in programs if name not in LIGHT]
    contents |= linked(others) if others else {}
    every = set().union(*contents.values())
    components, dependencies = [], []
    for crate in crates():
        if (crate.name, crate.version) in every:
            one = component(crate, checksums)
            components.append(one)
            below = []
            if crate.name == "libsqlite3-sys":
                components.append(bundled(crate))
                below = [components[-1]["bom-ref"]]
            dependencies.append({"ref": one["bom-ref"], "dependsOn": below})
    known = {one["bom-ref"] for one in components}
    for name in programs:
        components.append({"type": "application", "bom-ref": name, "name": name, "version": version,
                           "licenses": [{"expression": "MIT OR Apache-2.0"}]})
        crates_of = sorted(reference for reference in (purl(*crate) for crate in contents[name]) if reference in known)
        dependencies.append({"ref": name, "dependsOn": crates_of})
    dependencies.append({"ref": "addrwatch-rs", "dependsOn": programs})
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, text=True, stdout=subprocess.PIPE).stdout.strip() or 0
    time = datetime.datetime.fromtimestamp(int(epoch), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    rust = subprocess.run(["rustc", "--version"], check=True, text=True, stdout=subprocess.PIPE).stdout.split()[1]
    own = {"type": "application", "bom-ref": "addrwatch-rs", "name": "addrwatch-rs", "version": version,
           "licenses": [{"expression": "MIT OR Apache-2.0"}]}
    serial = uuid.UUID(bytes=hashlib.sha256(f"{version} {time} {programs} {lock}".encode()).digest()[:16], version=4)
    print(json.dumps({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber": f"urn:uuid:{serial}", "version": 1,
        "metadata": {"timestamp": time, "component": own, "tools": {"components": [
            {"type": "application", "name": "rustc", "version": rust}, {"type": "application", "name": "contrib/sbom.py", "version": version}]}},
        "components": components, "dependencies": dependencies}, indent=1))


if len(sys.argv) < 2:
    sys.exit(__doc__)
main(sys.argv[1:])
