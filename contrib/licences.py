#!/usr/bin/env python3
"""Writes the licence notices of all crates that are linked into the installed programs.

Usage: contrib/licences.py           writes THIRD-PARTY.md and contrib/deb/copyright
       contrib/licences.py --check   fails if one of them does not match Cargo.lock

Input: `cargo tree` for the normal dependencies, the crates' own Cargo.toml and licence files in the cargo registry.
Of several licences that a crate offers, the first of PREFERRED is used. The Apache licence is not repeated: it is in
LICENSE-APACHE and in Debian's /usr/share/common-licenses.
"""
import hashlib, json, re, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = "x86_64-unknown-linux-gnu"
PREFERRED = ["Apache-2.0", "MIT", "ISC", "BSD-3-Clause", "Zlib", "0BSD", "Unicode-3.0", "CDLA-Permissive-2.0"]
# Crates whose manifest names no licence: what their licence file is.
CLARIFIED = {"webpki": "ISC"}
# Which files hold a licence, where a crate has several.
FILES = {"MIT": r"MIT", "ISC": r"ISC", "BSD-3-Clause": r"BSD", "Zlib": r"ZLIB", "0BSD": r"0BSD"}
STD = ("std", "(Rust standard library)", "Apache-2.0", ["The Rust Project Developers"], "https://github.com/rust-lang/rust")


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments, "--locked", "--quiet"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def licences(expression, name):
    """The licences that apply: of each alternative the first of PREFERRED."""
    chosen = []
    for term in re.split(r"\s+AND\s+", expression.replace("/", " OR ")):
        offered = re.split(r"\s+OR\s+", term.strip("() "))
        found = [licence for licence in PREFERRED if licence in offered]
        if not found:
            sys.exit(f"licences: {name}: no licence of {expression!r} is known (see PREFERRED in {sys.argv[0]})")
        if found[0] not in chosen:
            chosen.append(found[0])
    return chosen


def split(text):
    """The copyright lines of a licence file, and the rest."""
    holders, body = [], []
    for line in text.splitlines():
        line = re.sub(r"^// ?", "", line).rstrip()
        if re.match(r"\s*Copyright\b.*(\d{4}|\(c\)|©|developers|authors)", line, re.I) and "[yyyy]" not in line and "{yyyy}" not in line:
            holders.append(re.sub(r"^\s*Copyright:?\s*", "", line, flags=re.I).strip())
        else:
            body.append(line)
    body = re.sub(r"(?s)\s+Apache License\s+Version 2\.0, January 2004.*?limitations under the License\.",
                  "\n\n(Here follows the text of the Apache License, Version 2.0.)", "\n".join(body))
    return holders, re.sub(r"\n{3,}", "\n\n", body).strip("\n")


class Crate:
    def __init__(self, package):
        self.name, self.version = package["name"], package["version"]
        self.expression = package["license"] or CLARIFIED.get(self.name) or sys.exit(f"licences: {self.name}: no licence")
        self.licences = licences(self.expression, self.name)
        self.home = package["repository"] or package["homepage"] or f"https://crates.io/crates/{self.name}"
        self.directory = directory = Path(package["manifest_path"]).parent
        files = sorted(path for path in directory.iterdir() if path.is_file() and re.match(r"(?i)(un)?licen[cs]e|copy|notice", path.name))
        read = {path: split(path.read_text(errors="replace").lstrip("\ufeff")) for path in files}
        self.holders = list(dict.fromkeys(holder for holders, _ in read.values() for holder in holders))
        self.holders = self.holders or [re.sub(r"\s*<.*", "", author) for author in package["authors"]] or [f"the authors of {self.name}"]
        # Licence, text. The notices of the Apache licence (section 4 d) are texts, too.
        self.texts = [("NOTICE", read[path][1]) for path in files if path.name.upper().startswith("NOTICE")]
        for licence in self.licences:
            named = [path for path in files if re.search(FILES.get(licence, "$^"), path.name.upper())]
            others = [path for path in files if path.name.upper().split(".")[0] in ("LICENSE", "LICENCE")]
            texts = [read[path][1] for path in (named or others)]
            if licence != "Apache-2.0":
                self.texts += [(licence, text) for text in texts] or sys.exit(f"licences: {self.name}: no text of {licence}")
        if self.name == "ring":  # its files say which part of it is under which licence
            self.texts = [("ring", read[path][1]) for path in files]

    def row(self):
        return self.name, self.version, " AND ".join(self.licences), self.holders, self.home


def crates():
    tree = cargo("tree", "--workspace", "--exclude", "aw-tests", "--edges", "normal,no-proc-macro", "--target", TARGET,
                 "--prefix", "none", "--no-dedupe", "--format", "{p}")
    linked = {tuple(line.split()[:2]) for line in tree.splitlines() if line.strip()}
    packages = json.loads(cargo("metadata", "--format-version", "1", "--filter-platform", TARGET))["packages"]
    return [Crate(package) for package in sorted(packages, key=lambda package: (package["name"], package["version"]))
            if package["source"] and (package["name"], "v" + package["version"]) in linked]


def key(text):
    """The same for texts that differ in layout and bullets only."""
    return hashlib.sha256(re.sub(r"[\W_]+", " ", text.lower()).strip().encode()).hexdigest()


def texts_of(linked):
    """Each text once, with a label of its own and the crates that come under it."""
    texts = {}
    for crate in linked:
        for licence, text in crate.texts:
            licence, text, names = texts.setdefault(key(text), (licence, text, []))
            if crate.name not in names:
                names.append(crate.name)
    number, labelled = {}, {}
    for digest, (licence, text, names) in texts.items():
        number[licence] = number.get(licence, 0) + 1
        labelled[digest] = (licence if number[licence] == 1 else f"{licence}-{number[licence]}", text, names)
    return labelled


def markdown(linked):
    texts = texts_of(linked)
    lines = ["# Third-party licences", "",
             "The programs of addrwatch-rs contain the crates below. `contrib/licences.py` generates this file from `Cargo.lock`; do not edit it.",
             "Where a crate offers several licences, the table names the one that is used here.",
             "The text of Apache-2.0 is in [LICENSE-APACHE](LICENSE-APACHE), all others follow the table.",
             "`libsqlite3-sys` contains SQLite, which is in the public domain. libpcap and the C library are linked dynamically and are not part of the programs.", "",
             "| crate | version | licence | copyright |", "|---|---|---|---|"]
    for name, version, licence, holders, home in [STD, *(crate.row() for crate in linked)]:
        shown = "; ".join(holders).replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| [{name}]({home}) | {version} | {licence} | {shown} |")
    for label, text, names in texts.values():
        lines += ["", f"## {label}", "", f"Applies to: {', '.join(f'`{name}`' for name in names)}.", "", "```text", text, "```"]
    return "\n".join(lines) + "\n"


def indented(text):
    return "".join(f" {line}\n" if line.strip() else " .\n" for line in text.splitlines())


def debian(linked):
    texts = texts_of(linked)
    out = ["Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
           "Upstream-Name: addrwatch-rs\n"
           "Comment: contrib/licences.py generates this file from Cargo.lock. The paragraphs\n"
           " of crates/ are the Rust crates that are linked into the programs.\n",
           "Files: *\nCopyright: the authors of addrwatch-rs\nLicense: Expat or Apache-2.0\n"]
    labels = {"MIT": "Expat"}
    named = {digest: labels.get(label, label.replace("MIT-", "Expat-")) for digest, (label, _, _) in texts.items()}
    for crate in linked:
        own = list(dict.fromkeys(named[key(text)] for _, text in crate.texts))
        used = (["Apache-2.0"] if "Apache-2.0" in crate.licences and crate.name != "ring" else []) + own
        holders = "".join(f" {holder}\n" for holder in crate.holders)
        out.append(f"Files: crates/{crate.name}-{crate.version}/*\nCopyright:\n{holders}License: {' and '.join(used)}\n")
    out.append(f"Files: crates/std/*\nCopyright: {STD[3][0]}\nLicense: Apache-2.0\n")
    out.append("License: Apache-2.0\n On Debian systems the text of the Apache License, Version 2.0, is in\n /usr/share/common-licenses/Apache-2.0.\n")
    out += [f"License: {named[digest]}\n{indented(text)}" for digest, (_, text, _) in texts.items()]
    return "\n".join(out)


def main():
    linked = crates()
    stale = []
    for path, text in (("THIRD-PARTY.md", markdown(linked)), ("contrib/deb/copyright", debian(linked))):
        if sys.argv[1:] == ["--check"]:
            stale += [] if (ROOT / path).read_text() == text else [path]
        else:
            (ROOT / path).write_text(text)
    if stale:
        sys.exit(f"licences: {' and '.join(stale)} do not match Cargo.lock (run contrib/licences.py and commit the result)")
    print(f"licences: {len(linked)} crates")


if __name__ == "__main__":
    main()
