//! What has no mark to look for: card numbers, and text that looks drawn by lot. Both are long runs of
//! one kind of byte, so that only each so manieth byte has to be looked at.

/// The shortest number of a card.
const SHORTEST_CARD: usize = 13;
/// Shorter text may be a word.
const SHORTEST_OPAQUE: usize = 32;

/// The next card number in `gap` from `from` on, as its first byte and the one behind its last.
pub(super) fn card(gap: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let (start, end) = run(gap, at, SHORTEST_CARD, is_card_part)?;
        if let Some(found) = card_in(gap, start.max(from), end) {
            return Some(found);
        }
        at = end;
    }
}

pub(super) const fn is_card_part(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b' ' | b'-')
}

/// Whether what stands before a number makes one word of it, or its fraction.
fn joins(byte: Option<&u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'))
}

/// The same for what stands behind: a dot may end a sentence, and a fraction may be masked.
fn goes_on(rest: &[u8]) -> bool {
    rest.first()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

fn card_in(gap: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    let mut at = start;
    while at < end {
        let rest = gap.get(at..end)?;
        let group = digits(rest);
        if group == 0 {
            at += 1;
            continue;
        }
        let before = at.checked_sub(1).and_then(|before| gap.get(before));
        if !joins(before)
            && let Some(length) = number(gap.get(at..)?, group)
        {
            return Some((at, at + length));
        }
        at += group;
    }
    None
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// How long the card number is that begins here, if one does.
fn number(text: &[u8], first_group: usize) -> Option<usize> {
    // Those of banks begin with 2 to 6. Times in micro- and nanoseconds begin with 1.
    if !matches!(text.first(), Some(b'2'..=b'6')) {
        return None;
    }
    let lengths = match first_group {
        13..=19 => [first_group, 0],
        4 => grouped(text)?,
        _ => return None,
    };
    let is_one = |length: &usize| {
        *length > 0
            && text.get(..*length).is_some_and(luhn)
            && text.get(*length..).is_some_and(|rest| !goes_on(rest))
    };
    lengths.into_iter().find(is_one)
}

/// As it is printed on the card: 4-4-4-4, 4-4-4-4-3, 4-6-5 or 4-6-4, with one kind of joint.
fn grouped(text: &[u8]) -> Option<[usize; 2]> {
    let joint = text.get(4).copied();
    let joint = joint.filter(|joint| matches!(joint, b' ' | b'-'))?;
    let mut lengths = [0_usize; 6];
    let mut at = 0;
    for length in &mut lengths {
        *length = digits(text.get(at..)?);
        at += *length;
        if *length == 0 || text.get(at) != Some(&joint) {
            break;
        }
        at += 1;
    }
    match lengths {
        [4, 6, last @ (4 | 5), ..] => Some([4 + 6 + last + 2, 0]),
        // Three digits behind may be of the number, or the next thing.
        [4, 4, 4, 4, 3, ..] => Some([23, 19]),
        [4, 4, 4, 4, ..] => Some([19, 0]),
        _ => None,
    }
}

fn luhn(text: &[u8]) -> bool {
    let digits = text.iter().rev().filter(|byte| byte.is_ascii_digit());
    let sum: u32 = digits
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0');
            match (place % 2, digit) {
                (0, _) => digit,
                (_, 5..) => 2 * digit - 9,
                (_, _) => 2 * digit,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// The next text in `gap` that looks drawn by lot.
pub(super) fn opaque(gap: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let (start, end) = run(gap, at, SHORTEST_OPAQUE, is_opaque_part)?;
        let start = start.max(from);
        if is_opaque(gap.get(start..end)?) {
            return Some((start, end));
        }
        at = end;
    }
}

pub(super) const fn is_opaque_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+' | b'~')
}

/// Long, and of letters of more than one kind. UUIDs are names here, not secrets.
fn is_opaque(part: &[u8]) -> bool {
    if part.len() < SHORTEST_OPAQUE || is_uuid(part) {
        return false;
    }
    let digit = part.iter().any(u8::is_ascii_digit);
    let lower = part.iter().any(u8::is_ascii_lowercase);
    let upper = part.iter().any(u8::is_ascii_uppercase);
    (digit && (lower || upper)) || (lower && upper)
}

pub(super) fn is_uuid(part: &[u8]) -> bool {
    part.len() == 36 && uuid::Uuid::try_parse_ascii(part).is_ok()
}

/// The longest number of a card, as it is printed.
const LONGEST_CARD: usize = 23;

/// A card number that ends where `bytes` end.
pub(super) fn card_at_end(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let last = bytes.len().saturating_sub(LONGEST_CARD);
    let (start, end) = card(bytes, from.max(last))?;
    (end == bytes.len()).then_some((start, end))
}

/// Opaque text that ends where `bytes` end.
pub(super) fn opaque_at_end(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let tail = bytes.get(from..)?.iter().rev();
    let length = tail.take_while(|byte| is_opaque_part(**byte)).count();
    let start = bytes.len() - length;
    is_opaque(bytes.get(start..)?).then_some((start, bytes.len()))
}

/// The next run of at least `least` such bytes from `from` on. A run that long holds one of every
/// `least`-th bytes, so that the others are not looked at; and from any place in it, it reaches half of
/// its length one way or the other.
#[inline]
fn run(
    text: &[u8],
    from: usize,
    least: usize,
    is_part: impl Fn(u8) -> bool,
) -> Option<(usize, usize)> {
    let half = (least - 1) / 2;
    let is_part_at = |at: usize| text.get(at).is_some_and(|byte| is_part(*byte));
    let mut probe = from + least - 1;
    while probe < text.len() {
        if !is_part_at(probe) || !(is_part_at(probe - half) || is_part_at(probe + half)) {
            probe += least;
            continue;
        }
        let back = text.get(from..probe)?.iter().rev();
        let start = probe - back.take_while(|byte| is_part(**byte)).count();
        let ahead = text.get(probe..)?.iter();
        let end = probe + ahead.take_while(|byte| is_part(**byte)).count();
        if end - start >= least {
            return Some((start, end));
        }
        probe = end + least;
    }
    None
}
