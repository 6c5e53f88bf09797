//! What all programs read: text files in any encoding, and values of options.

use crate::{
    ByteSize, HostPort, TextLines, TimeSpan, csv_fields, decode_text, parse_network,
    split_name_line,
};

/// Any bytes as a text file: its lines are numbered and bounded, also as one text. Each line is a value of options, too: what
/// is accepted is read again as it is printed.
pub fn text(input: &[u8]) {
    let Ok(lines) = TextLines::new(input) else { return };
    let mut length = 0;
    for (line, number) in lines.map_while(Result::ok).zip(1..) {
        assert_eq!(line.number, number);
        let Some(line) = line.text else { continue };
        length += line.len();
        assert!(!line.contains('\n'));
        values(&line);
    }
    // A byte of Windows-1252 becomes a character of three.
    assert!(length <= 3 * input.len(), "{length} bytes of {}", input.len());
    if let Ok(text) = decode_text(input) {
        assert!(text.is_empty() || text.ends_with('\n'));
    }
}

fn values(line: &str) {
    let fields = csv_fields(line, 3);
    assert!((1..=3).contains(&fields.len()));
    assert!(fields.iter().map(String::len).sum::<usize>() <= line.len(), "{line:?}");
    if let Some((mac, name)) = split_name_line(line) {
        assert!(line.contains(mac) && line.contains(name), "{line:?}");
    }
    if let Ok(server) = HostPort::parse(line, 25) {
        assert_eq!(HostPort::parse(&server.to_string(), 0), Ok(server), "{line:?}");
    }
    if let Ok(network) = parse_network(line) {
        assert_eq!(parse_network(&network.to_string()), Ok(network), "{line:?}");
    }
    let _ = (line.parse::<TimeSpan>(), line.parse::<ByteSize>());
}

#[cfg(test)]
mod seeds;

#[cfg(test)]
#[test]
fn seeds_and_mutations() {
    seeds::run("text", text);
}
