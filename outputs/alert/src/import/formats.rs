//! The text formats, and which of them a file has. The content decides, not the name.

use aw_service::TextLine;

use super::{
    imported::Imported,
    lines::{addrwatch, arp_dat, ethers, macupd_tracker, proc_net_arp},
    vendors::{oui_csv, prefix_line},
};

/// What a line does not contain.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// `--network`.
    pub network: Option<&'a str>,
    /// When the file was written: for formats without times.
    pub time: i64,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Something is imported.
    Data,
    /// It belongs to the format, and there is nothing to import.
    Nothing,
    /// It does not belong to the format.
    Bad,
    /// It names no interface, and there is no `--network`.
    NeedsNetwork,
}

/// Reads a line that is not empty and is not a comment.
pub type ReadLine = fn(&str, &Context, &mut Imported) -> Line;

/// If two formats fit a file equally well, the first one counts.
const FORMATS: [(&str, ReadLine); 7] = [
    ("arp.dat of arpwatch and Arpwatch-NG", arp_dat),
    ("the lines of addrwatch and collector", addrwatch),
    ("/proc/net/arp", proc_net_arp),
    ("macupd_tracker.conf", macupd_tracker),
    ("ethers", ethers),
    ("ethercodes.dat, manuf, nmap-mac-prefixes and oui.txt", prefix_line),
    ("oui.csv of the IEEE", oui_csv),
];

/// For a file with no format that is known.
pub fn unknown() -> String {
    let names = FORMATS.map(|(name, _)| name).join(", ");
    format!(
        "no format that is known (known are: {names}, and SQLite databases of addrwatch, aw-sqlite and hostwatch)"
    )
}

/// Whether a line has content in all formats.
pub fn has_content(line: &TextLine) -> bool {
    line.text.as_ref().is_none_or(|line| !line.starts_with('#') && !line.trim().is_empty())
}

/// The format that reads most of the first lines. A file of which less than a third can be read is none of these. One
/// without content is an arp.dat, as arpwatch creates it.
pub fn recognize(first: &[TextLine], context: &Context) -> Option<ReadLine> {
    let texts: Vec<_> = first.iter().filter_map(|line| line.text.as_deref()).collect();
    if first.is_empty() {
        return Some(arp_dat);
    }
    if texts.iter().any(|text| text.contains('\0')) {
        return None; // not a text
    }
    let mut best: Option<(usize, ReadLine)> = None;
    for (_, read) in FORMATS {
        let (mut data, mut bad) = (0, first.len() - texts.len());
        let mut imported = Imported::default();
        for text in &texts {
            match read(text, context, &mut imported) {
                Line::Data | Line::NeedsNetwork => data += 1,
                Line::Bad => bad += 1,
                Line::Nothing => {}
            }
        }
        let fits = data > 0 && 2 * data >= bad;
        if fits && best.is_none_or(|(most, _)| data > most) {
            best = Some((data, read));
        }
    }
    best.map(|(_, read)| read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format_of(text: &str) -> Option<&'static str> {
        let lines = (1..).zip(text.lines());
        let line = |(number, text): (usize, &str)| TextLine { number, text: Some(text.into()) };
        let lines: Vec<_> = lines.map(line).filter(has_content).collect();
        let found = recognize(&lines, &Context::default())?;
        FORMATS.iter().find(|(_, read)| std::ptr::fn_addr_eq(*read, found)).map(|(name, _)| *name)
    }

    #[test]
    fn text_formats_are_recognized() {
        for (text, name) in [
            ("", "arp.dat"),
            ("# comment\n\n", "arp.dat"),
            ("0:8:e1:1:2:d6\t10.0.0.1\t1700000000\n", "arp.dat"),
            ("0:8:e1:1:2:d6\t10.0.0.1\t1700000000\n0:8:e1:1:2:d7\t10.0.0.1\t17x", "arp.dat"),
            ("0:8:e1:1:2:d6\t20\t10.0.0.1\t1700000000\tnas\n", "arp.dat"),
            ("1700000000 eth0 0 00:1b:21:00:00:01 192.0.2.1 ARP_REQ\n", "the lines of addrwatch"),
            (
                "IP address HW type Flags HW address Mask Device\n192.0.2.1 0x1 0x2 00:1b:21:00:00:01 * eth0\n",
                "/proc/net/arp",
            ),
            (
                "##\n[MAIN]\nPORT=2056 # Port\nLOGDIR=/x|y\n11:11:11:11:11:11|my router\n1:2|bad\n",
                "macupd",
            ),
            ("00:1B:21:00:00:01 router\n", "ethers"),
            ("# c\n0:0:10\tHUGHES\n00-00-1F\tTelco\nbad line\n", "ethercodes.dat"),
            (
                "00:00:0C\tCisco\tCisco Systems, Inc\n01:00:0C:CC:CC:CC\tCDP\tCisco\n01:00:0C:CC:CC:CD\tSTP\tCisco\n00:00:0D\tx\ty\n",
                "ethercodes.dat",
            ),
            ("00000C Cisco Systems\n", "ethercodes.dat"),
            (
                "Registry,Assignment,Organization Name,Organization Address\nMA-L,001B21,Intel,x\n",
                "oui.csv",
            ),
        ] {
            assert!(
                format_of(text).is_some_and(|found| found.starts_with(name)),
                "{text}: {:?}",
                format_of(text)
            );
        }
        for unknown in [
            "root:x:0:0:root:/root:/bin/bash\nbin:x:2:2:bin:/bin:/bin/sh\n",
            "127.0.0.1\tlocalhost\n10.0.0.1 nas\n::1 localhost\n",
            "tcpmux 1/tcp # service\n",
            "{\"mac\": \"00:1b:21:00:00:01\"}\n",
            "a decade\nfacade of the\n",
            "\0\0\n00:1B:21:00:00:01 router\n",
            "a\nb\nc\n00:1B:21:00:00:01 router\n",
            "settings = 1\n",
        ] {
            assert_eq!(format_of(unknown), None, "{unknown}");
        }
    }
}
