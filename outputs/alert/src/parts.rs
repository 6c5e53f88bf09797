//! A list in as many messages as it needs, so that no channel cuts one: what a list leaves out is never reported again.

use std::ops::Range;

/// Lines in a message, at most: a card of Teams has 60.
const MAX_LINES: usize = 35;
/// Bytes of a line that are never cut: time, address, MAC address and network, which come first.
const MIN_LINE: usize = 160;

/// The lines of each message, if the text around them leaves so many bytes for lines with their line ends. At least one message.
pub fn parts(lines: &[String], room: usize) -> Vec<Range<usize>> {
    let (mut parts, mut begin, mut size) = (Vec::new(), 0, 0);
    for (index, line) in lines.iter().enumerate() {
        let bytes = line.len() + 1;
        if index > begin && (index - begin == MAX_LINES || size + bytes > room) {
            parts.push(begin..index);
            (begin, size) = (index, 0);
        }
        size += bytes;
    }
    parts.push(begin..lines.len());
    parts
}

/// A line that fits, with its beginning.
pub fn fitting(line: String, room: usize) -> String {
    match line.len() < room {
        true => line,
        false => {
            let end = line.floor_char_boundary(room.max(MIN_LINE).saturating_sub(4));
            if end < line.len() { format!("{}...", &line[..end]) } else { line }
        }
    }
}

/// ` (2 of 3)`, if there are several.
pub fn number(index: usize, count: usize) -> String {
    if count > 1 { format!(" ({} of {count})", index + 1) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_in_one_part() {
        let lines: Vec<_> = (0..100).map(|number| "x".repeat(number % 50)).collect();
        for room in [0, 60, 1000, usize::MAX] {
            let parts = parts(&lines, room);
            assert!(parts.iter().cloned().flatten().eq(0..100), "{parts:?}");
            for part in parts {
                let size: usize = lines[part.clone()].iter().map(|line| line.len() + 1).sum();
                assert!(part.len() == 1 || part.len() <= MAX_LINES && size <= room, "{part:?}");
            }
        }
        let none = 0..0;
        assert_eq!(parts(&[], 9), [none]);
        assert_eq!(fitting("é".repeat(200), 300), format!("{}...", "é".repeat(148)));
        assert_eq!(fitting("short".into(), 300), "short");
    }
}
