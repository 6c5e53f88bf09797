//! Encrypts to age recipients (age-encryption.org/v1, the C2SP specification), so that `age -d -i KEY` decrypts. Only the
//! public keys are here: this machine cannot decrypt what it wrote.
//!
//! Not by the crate `age` (0.12.1, "beta"): it brings 43 further crates, most of them for translated messages. All
//! cryptography is of `ring`, which SSH and TLS use here too; a test decrypts with the program `age`.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Salt},
    hmac::{self, HMAC_SHA256},
    rand::{SecureRandom, SystemRandom},
};
use serde::Deserialize;
use std::ops::Range;

/// A public key, `age1...`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Recipient([u8; 32]);

impl TryFrom<String> for Recipient {
    type Error = String;

    fn try_from(text: String) -> Result<Recipient, String> {
        if text.trim().starts_with("age1pq1") {
            return Err(format!(
                "recipient {text:?}: post-quantum keys are not supported yet: use an X25519 key (age-keygen without -pq prints it as public key, age1... of 62 letters)"
            ));
        }
        if has_private_key(&text) {
            return Err(
                "recipient: this is a private key, which is not to be on this machine (write its public key, age1...; age-keygen -y prints it)"
                    .into(),
            );
        }
        let fault = || match text.trim().chars().count() {
            length if text.trim().starts_with("age1") && length != LENGTH => format!(
                "recipient {text:?}: a public key has {LENGTH} letters, and this has {length} (age-keygen prints it as public key)"
            ),
            _ => {
                format!("recipient {text:?}: must be age1... (age-keygen prints it as public key)")
            }
        };
        let key = bech32("age", text.trim()).and_then(|key| key.try_into().ok());
        // Some keys take part in no agreement: better an error here than at each export.
        let is_usable = |key: &Recipient| wrap(key, &[0; 16], &SystemRandom::new()).is_ok();
        key.map(Recipient).filter(is_usable).ok_or_else(fault)
    }
}

/// Letters of a public key.
const LENGTH: usize = 62;
/// The beginning of a private key, in capitals or not.
const PRIVATE: &str = "AGE-SECRET-KEY-";

fn has_private_key(text: &str) -> bool {
    text.to_ascii_uppercase().contains(PRIVATE)
}

/// The places of private keys in a text.
pub fn private_keys(text: &str) -> Vec<Range<usize>> {
    let upper = text.to_ascii_uppercase();
    let found = upper.match_indices(PRIVATE).map(|(start, _)| {
        let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        start..start + upper.as_bytes()[start..].iter().take_while(|byte| is_key(byte)).count()
    });
    found.collect()
}

/// Bytes of a part of the text, which is encrypted and authenticated by itself.
const CHUNK: usize = 64 << 10;

/// One recipient and any further ones (`split_first` of a list): what is encrypted to none is lost.
pub type Recipients<'a> = (&'a Recipient, &'a [Recipient]);

/// Encrypts to all recipients: each can decrypt. Fails only without random numbers or with a recipient that is no key.
pub fn seal(recipients: Recipients, text: &[u8]) -> Result<Vec<u8>, Unspecified> {
    seal_with(recipients, text, &SystemRandom::new())
}

fn seal_with(
    (first, others): Recipients,
    text: &[u8],
    random: &dyn SecureRandom,
) -> Result<Vec<u8>, Unspecified> {
    let (mut file_key, mut nonce) = ([0; 16], [0; 16]);
    random.fill(&mut file_key)?;
    random.fill(&mut nonce)?;
    let mut header = "age-encryption.org/v1\n".to_owned();
    for recipient in [first].into_iter().chain(others) {
        let (share, wrapped) = wrap(recipient, &file_key, random)?;
        header += &format!("-> X25519 {}\n{}\n", BASE64.encode(share), BASE64.encode(wrapped));
    }
    header += "---";
    let key = hmac::Key::new(HMAC_SHA256, &derived(&[], &file_key, "header")?);
    let tag = hmac::sign(&key, header.as_bytes());
    let mut sealed = format!("{header} {}\n", BASE64.encode(tag)).into_bytes();
    sealed.reserve(text.len() + text.len() / 1024 + 64);
    sealed.extend_from_slice(&nonce);
    let key = cipher(&derived(&nonce, &file_key, "payload")?)?;
    let last = text.len().div_ceil(CHUNK).max(1) - 1;
    for number in 0..=last {
        let mut chunk = text[number * CHUNK..text.len().min((number + 1) * CHUNK)].to_vec();
        // The number of the chunk, and whether it is the last one.
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&(number as u64).to_be_bytes());
        nonce[11] = u8::from(number == last);
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::empty(),
            &mut chunk,
        )?;
        sealed.extend_from_slice(&chunk);
    }
    Ok(sealed)
}

/// The key of the file for one recipient: the share of a key that is used once, and the encrypted key.
fn wrap(
    Recipient(recipient): &Recipient,
    file_key: &[u8],
    random: &dyn SecureRandom,
) -> Result<(Vec<u8>, Vec<u8>), Unspecified> {
    let own = EphemeralPrivateKey::generate(&X25519, random)?;
    let share = own.compute_public_key()?.as_ref().to_vec();
    let salt = [&share, recipient.as_slice()].concat();
    let key = agree_ephemeral(own, &UnparsedPublicKey::new(&X25519, recipient), |secret| {
        derived(&salt, secret, "age-encryption.org/v1/X25519")
    })??;
    let mut wrapped = file_key.to_vec();
    // The key is used for this text only.
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    cipher(&key)?.seal_in_place_append_tag(nonce, Aad::empty(), &mut wrapped)?;
    Ok((share, wrapped))
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, Unspecified> {
    UnboundKey::new(&CHACHA20_POLY1305, key).map(LessSafeKey::new)
}

/// A key of 32 bytes that is derived with HKDF-SHA-256 (RFC 5869).
fn derived(salt: &[u8], secret: &[u8], info: &str) -> Result<[u8; 32], Unspecified> {
    let (mut key, pseudorandom) = ([0; 32], Salt::new(HKDF_SHA256, salt).extract(secret));
    pseudorandom.expand(&[info.as_bytes()], &CHACHA20_POLY1305)?.fill(&mut key)?;
    Ok(key)
}

/// The bytes of a Bech32 text with this prefix (BIP 173); `None` if its checksum is wrong.
fn bech32(prefix: &str, text: &str) -> Option<Vec<u8>> {
    const LETTERS: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let data = text.strip_prefix(prefix)?.strip_prefix('1')?;
    let values: Option<Vec<u8>> =
        data.chars().map(|c| LETTERS.find(c).map(|value| value as u8)).collect();
    let values = values?;
    let high = prefix.bytes().map(|byte| byte >> 5);
    let low = prefix.bytes().map(|byte| byte & 31);
    let checked = high.chain([0]).chain(low).chain(values.iter().copied());
    let checksum = checked.fold(1_u32, |sum, value| {
        let factors = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
        let shifted = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        let set = factors.iter().enumerate().filter(|(bit, _)| sum >> 25 >> bit & 1 == 1);
        set.fold(shifted, |sum, (_, factor)| sum ^ factor)
    });
    let (body, _) = values.split_at(values.len().checked_sub(6).filter(|_| checksum == 1)?);
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for value in body {
        bits = (bits << 5 | u32::from(*value)) & 0xfff;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    // What is left of the last byte is padding, which is zero.
    (count < 5 && bits & ((1 << count) - 1) == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the age documentation.
    const KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

    #[test]
    fn recipients() {
        assert!(Recipient::try_from(KEY.to_owned()).is_ok());
        let wrong = KEY.replace("ql3z", "ql3y");
        for text in
            ["", "age1", "age1qqqqqq", &wrong, &KEY[..50], "ssh-ed25519 AAAA", "AGE-SECRET-KEY-1X"]
        {
            assert!(Recipient::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    /// A file that was computed by another implementation (Python's cryptography, from the specification) with these random
    /// numbers, and that `age -d` 1.1.1 opens with AGE-SECRET-KEY-1QF0UE5SX4GH26P4EX88LH7QJ2K8N3CDHPWNFNCV8NK0PM6VUNNASNKE2XZ.
    #[test]
    #[expect(deprecated, reason = "the only fixed numbers that ring takes")]
    fn known_answer() {
        let key = "age1qnq84rnm5netgwp8tmde22fle64a5dlsjtht9snktcskt46sky4qxuyxkt";
        let recipient = Recipient::try_from(key.to_owned()).unwrap();
        let bytes: Vec<u8> = (0..64).collect();
        // The key of the file, the nonce, the ephemeral key.
        let random = ring::test::rand::FixedSliceSequenceRandom {
            bytes: &[&bytes[..16], &bytes[16..32], &bytes[32..]],
            current: 0.into(),
        };
        let text = b"/ppp secret add name=x password=geheim\n";
        let sealed = seal_with((&recipient, &[]), text, &random).unwrap();
        let header = "age-encryption.org/v1
-> X25519 NYBy1jZYgNGu6jKa35EhODhR7SGijjt16WXQ0s0WYlQ
sATkill4vrIfdoxhSeic+mpE0eRyLTRAvhyLCTQz6M8
--- qI9moNzy9eYbO7JPrfPKB+oUJDrpoZXfjllT+Nt57gs
";
        let payload = "EBESExQVFhcYGRobHB0eH6rJT64SrXCT7vNuDxXBVUzwRywJEBRaWyXzjHUCSQN9Wp2Hgq7KnyLR30k2yO1sAowW1Qx14N8";
        let expected = [header.as_bytes(), &BASE64.decode(payload).unwrap()].concat();
        assert_eq!(sealed.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    /// A private key that stands there by mistake is not repeated.
    #[test]
    fn a_private_key_is_not_shown() {
        for text in ["AGE-SECRET-KEY-1QF0UE5SX4GH26", "age-secret-key-pq-1qf0ue5sx4gh26"] {
            let fault = Recipient::try_from(text.to_owned()).unwrap_err();
            assert!(fault.contains("this is a private key") && !fault.contains("5SX4"), "{fault}");
            let lower = fault.to_ascii_lowercase();
            assert!(!lower.contains("qf0ue5"), "{fault}");
            let masked = crate::mask::mask(&format!("value \"{text}\": wrong"));
            assert_eq!(masked, "value \"***\": wrong");
            for line in [
                format!("encrypt_to = {text:?}"),
                format!("keep = {text:?}"),
                format!("{text} = 1"),
            ] {
                let fault = crate::config::Config::parse(&format!("archive = \"/x\"\n{line}\n"));
                let fault = fault.unwrap_err();
                assert!(!fault.to_ascii_lowercase().contains("qf0ue5"), "{fault}");
            }
        }
        let short = Recipient::try_from("age1abc".to_owned()).unwrap_err();
        assert!(short.contains("has 62 letters, and this has 7"), "{short}");
    }

    #[test]
    fn a_post_quantum_key_is_named() {
        let fault = Recipient::try_from("age1pq1qqqq".to_owned()).unwrap_err();
        assert!(fault.contains("not supported yet: use an X25519 key"), "{fault}");
    }

    /// The test with the program `age` decrypts it.
    #[test]
    fn the_text_is_not_in_it() {
        let recipient = Recipient::try_from(KEY.to_owned()).unwrap();
        for length in [0, 1, CHUNK, CHUNK + 1] {
            let sealed =
                seal((&recipient, std::slice::from_ref(&recipient)), &vec![b'x'; length]).unwrap();
            assert!(sealed.starts_with(b"age-encryption.org/v1\n-> X25519 "));
            assert!(!sealed.windows(8).any(|window| window == b"xxxxxxxx"));
        }
    }
}
