//! Downloads one file over the SFTP subsystem: version 3 of the protocol, as OpenSSH and RouterOS speak it
//! (draft-ietf-secsh-filexfer-02). Its sizes are bounded before memory is taken.

use std::{fmt, time::Duration};

use russh::{Channel, ChannelMsg, client::Msg};

const VERSION: u32 = 3;
/// Bytes of a part of the file.
const PART: u32 = 32 << 10;
/// Bytes of a packet, at most.
const MAX_PACKET: usize = PART as usize + 1024;

const INIT: u8 = 1;
const OPEN: u8 = 3;
const READ: u8 = 5;
const FSTAT: u8 = 8;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const ATTRIBUTES: u8 = 105;

const END_OF_FILE: u32 = 1;
const NO_SUCH_FILE: u32 = 2;
const PERMISSION_DENIED: u32 = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SftpFault {
    /// The server closed the channel before it answered: RouterOS does so if the user may not transfer files.
    Refused,
    /// The server answered with this status.
    Status(u32),
    /// The file is larger than this.
    TooLarge(u64),
    /// It took longer than this.
    Late(Duration),
    /// The file has another size than the server said.
    Incomplete,
    /// The connection ended, or the answer is none of the protocol.
    Broken(&'static str),
}

impl SftpFault {
    /// Whether the user lacks the right to transfer files.
    pub fn is_about_rights(&self) -> bool {
        matches!(self, SftpFault::Refused | SftpFault::Status(PERMISSION_DENIED))
    }
}

impl fmt::Display for SftpFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SftpFault::Refused => f.write_str("the router refuses SFTP"),
            SftpFault::Status(NO_SUCH_FILE) => f.write_str("SFTP: the router has no such file"),
            SftpFault::Status(PERMISSION_DENIED) => f.write_str("SFTP: permission denied"),
            SftpFault::Status(number) => write!(f, "SFTP: the router answers status {number}"),
            SftpFault::TooLarge(most) => write!(f, "larger than {} MiB", most >> 20),
            SftpFault::Late(limit) => {
                write!(f, "longer than {limit:?} (if the router needs longer, raise timeout)")
            }
            SftpFault::Incomplete => f.write_str("SFTP: the file is incomplete"),
            SftpFault::Broken(why) => write!(f, "SFTP: {why}"),
        }
    }
}

/// Downloads a file of at most this size, over a channel whose subsystem was just requested.
pub async fn download(
    channel: &mut Channel<Msg>,
    path: &str,
    most: u64,
) -> Result<Vec<u8>, SftpFault> {
    let mut sftp = Sftp { channel, received: Vec::new(), id: 0 };
    sftp.send(INIT, &VERSION.to_be_bytes()).await?;
    sftp.packet().await.map_err(|fault| match fault {
        SftpFault::Broken(ENDED) => SftpFault::Refused,
        fault => fault,
    })?;
    let handle = match sftp.open(path).await {
        // A server whose first directory is not the one that has the file.
        Err(SftpFault::Status(NO_SUCH_FILE)) => sftp.open(&format!("/{path}")).await?,
        handle => handle?,
    };
    let size = sftp.size(&handle).await?;
    if size.is_some_and(|size| size > most) {
        return Err(SftpFault::TooLarge(most));
    }
    let mut bytes = Vec::new();
    while let Some(part) = sftp.read(&handle, bytes.len() as u64).await? {
        if bytes.len() as u64 + part.len() as u64 > most {
            return Err(SftpFault::TooLarge(most));
        }
        bytes.extend_from_slice(&part);
    }
    match size {
        Some(size) if size != bytes.len() as u64 => Err(SftpFault::Incomplete),
        _ => Ok(bytes), // the end of the channel closes the file
    }
}

const ENDED: &str = "the router closed the channel";
const MALFORMED: SftpFault = SftpFault::Broken("an answer is malformed");

struct Sftp<'a> {
    channel: &'a mut Channel<Msg>,
    received: Vec<u8>,
    id: u32,
}

impl Sftp<'_> {
    async fn open(&mut self, path: &str) -> Result<Vec<u8>, SftpFault> {
        // For reading, without attributes.
        let request = [&string(path.as_bytes())[..], &1_u32.to_be_bytes(), &[0; 4]].concat();
        match self.request(OPEN, &request).await? {
            (HANDLE, text) => text_of(&text).map(<[u8]>::to_vec).ok_or(MALFORMED),
            (kind, text) => Err(refusal(kind, &text)),
        }
    }

    /// The size that the server says, if it does.
    async fn size(&mut self, handle: &[u8]) -> Result<Option<u64>, SftpFault> {
        match self.request(FSTAT, &string(handle)).await? {
            (ATTRIBUTES, text) => {
                let flags = number(&text).ok_or(MALFORMED)?;
                let size = text.get(4..12).and_then(|size| size.try_into().ok());
                Ok(size.filter(|_| flags & 1 == 1).map(u64::from_be_bytes))
            }
            _ => Ok(None),
        }
    }

    /// The bytes from there on; `None` at the end.
    async fn read(&mut self, handle: &[u8], from: u64) -> Result<Option<Vec<u8>>, SftpFault> {
        let request = [&string(handle)[..], &from.to_be_bytes(), &PART.to_be_bytes()].concat();
        match self.request(READ, &request).await? {
            (DATA, text) => match text_of(&text) {
                Some(part) if !part.is_empty() => Ok(Some(part.to_vec())),
                _ => Err(MALFORMED), // without bytes it would not end
            },
            (STATUS, text) if number(&text) == Some(END_OF_FILE) => Ok(None),
            (kind, text) => Err(refusal(kind, &text)),
        }
    }

    /// The kind of the answer, and its content after the number of the request.
    async fn request(&mut self, kind: u8, content: &[u8]) -> Result<(u8, Vec<u8>), SftpFault> {
        self.id += 1;
        let id = self.id.to_be_bytes();
        self.send(kind, &[&id[..], content].concat()).await?;
        let (kind, content) = self.packet().await?;
        match content.strip_prefix(&id) {
            Some(content) => Ok((kind, content.to_vec())),
            None => Err(MALFORMED),
        }
    }

    async fn send(&mut self, kind: u8, content: &[u8]) -> Result<(), SftpFault> {
        let packet = string(&[&[kind][..], content].concat());
        self.channel.data(&packet[..]).await.map_err(|_| SftpFault::Broken(ENDED))
    }

    async fn packet(&mut self) -> Result<(u8, Vec<u8>), SftpFault> {
        loop {
            if let Some(length) = number(&self.received) {
                let length = length as usize;
                if !(1..=MAX_PACKET).contains(&length) {
                    return Err(MALFORMED);
                }
                if self.received.len() >= 4 + length {
                    let rest = self.received.split_off(4 + length);
                    let packet = std::mem::replace(&mut self.received, rest);
                    return Ok((packet[4], packet[5..].to_vec()));
                }
            }
            match self.channel.wait().await {
                Some(ChannelMsg::Data { data }) => self.received.extend_from_slice(&data),
                Some(ChannelMsg::Failure) => return Err(SftpFault::Refused),
                Some(ChannelMsg::Close | ChannelMsg::Eof) | None => {
                    return Err(SftpFault::Broken(ENDED));
                }
                Some(_) => {}
            }
        }
    }
}

fn refusal(kind: u8, content: &[u8]) -> SftpFault {
    match number(content) {
        Some(status) if kind == STATUS => SftpFault::Status(status),
        _ => MALFORMED,
    }
}

/// The bytes behind their length.
fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

fn text_of(content: &[u8]) -> Option<&[u8]> {
    content.get(4..)?.get(..number(content)? as usize)
}

fn number(content: &[u8]) -> Option<u32> {
    content.get(..4)?.try_into().ok().map(u32::from_be_bytes)
}
