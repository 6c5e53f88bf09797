//! The answers of an SFTP server of version 3 that only reads files, as RouterOS's does for a download.

use std::collections::HashMap;

/// One connection to it.
#[derive(Default)]
pub struct SftpServer {
    received: Vec<u8>,
    open: HashMap<Vec<u8>, Vec<u8>>,
}

/// What it answers, and whether it read from a file.
#[derive(Default)]
pub struct Answers {
    /// Bytes for the client.
    pub bytes: Vec<u8>,
    /// A part of a file is among them.
    pub has_read: bool,
}

impl SftpServer {
    /// Takes bytes of the client. Files have this many bytes less than their size says.
    pub fn feed(&mut self, bytes: &[u8], files: &HashMap<String, Vec<u8>>, lost: usize) -> Answers {
        self.received.extend_from_slice(bytes);
        let mut answers = Answers::default();
        while let Some(length) = self.received.get(..4).map(|n| number(n) as usize)
            && self.received.len() >= 4 + length
        {
            let packet: Vec<u8> = self.received.drain(..4 + length).skip(4).collect();
            let (kind, rest) = (packet[0], &packet[1..]);
            let answer = if kind == 1 {
                [&[2][..], &3_u32.to_be_bytes()].concat()
            } else {
                answers.has_read |= kind == 5;
                let (id, content) = rest.split_at(4);
                let (kind, content) = self.answer(kind, content, files, lost);
                [&[kind][..], id, &content].concat()
            };
            answers.bytes.extend(string(&answer));
        }
        answers
    }

    fn answer(
        &mut self,
        kind: u8,
        content: &[u8],
        files: &HashMap<String, Vec<u8>>,
        lost: usize,
    ) -> (u8, Vec<u8>) {
        let name = &content[4..4 + number(content) as usize];
        let after = &content[4 + name.len()..];
        match kind {
            3 => match files.get(String::from_utf8_lossy(name).trim_start_matches('/')) {
                Some(file) => {
                    let handle = self.open.len().to_string().into_bytes();
                    self.open.insert(handle.clone(), file.clone());
                    (102, string(&handle))
                }
                None => status(2),
            },
            4 => status(0),
            5 => {
                let file = &self.open[name];
                let file = &file[..file.len() - lost];
                let from = u64::from_be_bytes(after[..8].try_into().unwrap()) as usize;
                let length = number(&after[8..]) as usize;
                // Less than was requested, as servers may answer.
                let part = &file[from.min(file.len())..];
                let part = &part[..part.len().min(length).min(20_000)];
                if part.is_empty() { status(1) } else { (103, string(part)) }
            }
            8 => {
                let size = self.open[name].len() as u64;
                (105, [&1_u32.to_be_bytes()[..], &size.to_be_bytes()].concat())
            }
            _ => status(8),
        }
    }
}

fn status(number: u32) -> (u8, Vec<u8>) {
    (101, [&number.to_be_bytes()[..], &string(b"status"), &string(b"")].concat())
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}
