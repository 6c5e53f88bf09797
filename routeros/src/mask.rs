//! Masks secrets in configuration lines, scripts, commands and log messages: in all that leaves the archive.
//!
//! Where a secret may be: a property (`password=x`), a variable of a script (`:local apiToken "x"`), JSON (`"token":"x"`),
//! a header (`Authorization: Bearer x`), a URL (`https://user:x@host/?key=x`), an option (`--password x`). All of them may be
//! inside of quoted texts, at any depth. What looks like a secret and is none is masked too, if in doubt.

mod layer;
mod names;
mod places;
mod value;

use std::{borrow::Cow, ops::Range};

use serde_json::Value;

use crate::seal::private_keys;

/// Raised with each rule that finds more secrets: then files in clear are looked through again.
pub const RULES: u32 = 1;
const MASK: &str = "***";
/// The text is masked again until that changes nothing, so that masking twice is the same as masking once.
const PASSES: usize = 5;

/// The text with the values of secrets replaced. If the end of a value is missing, all text after it is masked.
pub fn mask(text: &str) -> String {
    // First: what stands behind one is no value of it.
    let mut masked = without_private_keys(text);
    for _ in 0..PASSES {
        let again = mask_once(&masked);
        if again == masked {
            break;
        }
        masked = again;
    }
    masked
}

/// A text of the configuration without private keys that stand there by mistake.
pub fn without_private_keys(text: &str) -> String {
    let mut text = text.to_owned();
    for key in private_keys(&text).into_iter().rev() {
        text.replace_range(key, MASK);
    }
    text
}

/// Masks each text in JSON.
pub fn mask_json(value: &mut Value) {
    match value {
        Value::String(text) => *text = mask(text),
        Value::Array(values) => values.iter_mut().for_each(mask_json),
        Value::Object(values) => values.values_mut().for_each(mask_json),
        _ => {}
    }
}

fn mask_once(text: &str) -> String {
    let unfolded = Unfolded::new(text);
    let mut secrets = places::secrets(&unfolded.text);
    secrets.extend(private_keys(&unfolded.text));
    secrets.sort_by_key(|range| range.start);
    let mut masked = String::with_capacity(text.len());
    let mut done = 0;
    for secret in secrets {
        let Range { start, end } = unfolded.original(secret);
        if start < done {
            // Inside of the one before, or across its end.
            done = done.max(end);
            continue;
        }
        masked.push_str(&text[done..start]);
        masked.push_str(MASK);
        done = end;
    }
    masked + &text[done..]
}

/// A text whose wrapped lines are joined: a router wraps in the middle of names and values.
struct Unfolded<'a> {
    text: Cow<'a, str>,
    /// Positions in `text` where something was left out, and all bytes that were left out up to there.
    folds: Vec<(usize, usize)>,
}

impl Unfolded<'_> {
    fn new(text: &str) -> Unfolded<'_> {
        let (mut joined, mut folds, mut from, mut left_out) = (String::new(), Vec::new(), 0, 0);
        for (end, _) in text.match_indices('\n') {
            let line = text[from..end].trim_end_matches('\r');
            let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
            if backslashes % 2 == 0 {
                continue; // with the next line
            }
            joined.push_str(&line[..line.len() - 1]);
            let blanks = text[end + 1..].bytes().take_while(|byte| *byte == b' ').count();
            left_out += end + 1 + blanks - (from + line.len() - 1);
            from = end + 1 + blanks;
            folds.push((joined.len(), left_out));
        }
        if folds.is_empty() {
            return Unfolded { text: Cow::Borrowed(text), folds };
        }
        joined.push_str(&text[from..]);
        Unfolded { text: Cow::Owned(joined), folds }
    }

    /// The range in the original text. Folds inside of it are part of it, those at its borders are not.
    fn original(&self, range: Range<usize>) -> Range<usize> {
        let left_out = |folds: usize| folds.checked_sub(1).map_or(0, |last| self.folds[last].1);
        let before = self.folds.partition_point(|(at, _)| *at <= range.start);
        let within = self.folds.partition_point(|(at, _)| *at < range.end);
        range.start + left_out(before)..range.end + left_out(within.max(before))
    }
}

#[cfg(test)]
mod tests;
