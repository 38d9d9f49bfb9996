//! A file in chunks, each sealed for its place: STREAM (Hoang, Reyhanitabar, Rogaway, Vizár, CRYPTO 2015), with
//! a counter in the nonce and a mark on the last chunk, as age and Tink have it.
//!
//! The key is for one file alone, so that the counter is never used twice. What is cut, put in another order,
//! lengthened or of another file does not open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use uuid::Uuid;

use super::Error;

/// What a chunk holds. All but the last hold as much.
pub(super) const CHUNK: usize = 64 * 1024;
pub(super) const TAG: usize = 16;
pub(super) const KEY_LEN: usize = 32;

/// The chunks of one file, one after the other.
pub(super) struct Chunks {
    key: LessSafeKey,
    id: Uuid,
    next: u64,
    /// Bytes that are still to come, in the clear.
    left: u64,
    is_over: bool,
}

impl Chunks {
    /// Of a file of `size` bytes.
    pub(super) fn new(key: &[u8; KEY_LEN], id: Uuid, size: u64) -> Result<Self, Error> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Error::Cipher)?;
        Ok(Chunks {
            key: LessSafeKey::new(key),
            id,
            next: 0,
            left: size,
            is_over: false,
        })
    }

    /// How many bytes of the file are in the next chunk. Nothing after the last.
    pub(super) fn next_plain(&self) -> Option<usize> {
        let most = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
        (!self.is_over).then_some(most)
    }

    /// How many bytes of the disk the next chunk has.
    pub(super) fn next_sealed(&self) -> Option<usize> {
        self.next_plain().map(|plain| plain.saturating_add(TAG))
    }

    pub(super) fn seal(&mut self, chunk: &mut Vec<u8>) -> Result<(), Error> {
        let nonce = self.advance(chunk.len())?;
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(bound(self.id)), chunk)
            .map_err(|_| Error::Cipher)
    }

    /// Leaves in `chunk` what was sealed.
    pub(super) fn open(&mut self, chunk: &mut Vec<u8>) -> Result<(), Error> {
        const TORN: Error = Error::Damaged("a chunk does not open");
        let nonce = self.advance(chunk.len().saturating_sub(TAG))?;
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(bound(self.id)), chunk)
            .map_err(|_| TORN)?
            .len();
        chunk.truncate(plain);
        Ok(())
    }

    /// The nonce of the next chunk, which has to be as long as it must.
    fn advance(&mut self, plain: usize) -> Result<Nonce, Error> {
        if self.next_plain() != Some(plain) {
            return Err(Error::Damaged("a chunk has another length"));
        }
        let taken = u64::try_from(plain).unwrap_or(u64::MAX);
        self.left = self.left.saturating_sub(taken);
        self.is_over = self.left == 0;
        // Which chunk, in eleven bytes, and whether it is the last.
        let whole = (u128::from(self.next) << 8) | u128::from(self.is_over);
        let [_, _, _, _, nonce @ ..] = whole.to_be_bytes();
        let nonce: [u8; NONCE_LEN] = nonce;
        self.next = self.next.saturating_add(1);
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

fn bound(id: Uuid) -> Vec<u8> {
    [b"portcullis/upload/v1", &id.as_bytes()[..]].concat()
}

/// How long a file of `size` bytes is on the disk.
pub(super) fn on_disk(size: u64) -> u64 {
    let chunks = size.div_ceil(CHUNK as u64).max(1);
    size.saturating_add(chunks.saturating_mul(TAG as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; KEY_LEN] = [7; KEY_LEN];

    fn sealed(id: Uuid, size: usize) -> Vec<Vec<u8>> {
        let plain: Vec<u8> = (0..size)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        let mut chunks = Chunks::new(&KEY, id, size as u64).unwrap();
        let mut all = Vec::new();
        let mut rest = &plain[..];
        while let Some(count) = chunks.next_plain() {
            let (chunk, after) = rest.split_at(count);
            rest = after;
            let mut chunk = chunk.to_vec();
            chunks.seal(&mut chunk).unwrap();
            all.push(chunk);
        }
        all
    }

    /// What opens, or nothing where anything does not.
    fn opened(id: Uuid, size: usize, all: &[Vec<u8>]) -> Option<Vec<u8>> {
        let mut chunks = Chunks::new(&KEY, id, size as u64).unwrap();
        let mut plain = Vec::new();
        for chunk in all {
            let mut chunk = chunk.clone();
            chunks.open(&mut chunk).ok()?;
            plain.extend(chunk);
        }
        chunks.next_plain().is_none().then_some(plain)
    }

    #[test]
    fn every_length_comes_back_and_has_the_size_that_is_said() {
        let id = Uuid::now_v7();
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let all = sealed(id, size);
            let length: usize = all.iter().map(Vec::len).sum();
            assert_eq!(length as u64, on_disk(size as u64), "{size}");
            let plain = opened(id, size, &all).unwrap();
            assert_eq!(plain.len(), size);
            assert!(
                plain
                    .iter()
                    .enumerate()
                    .all(|(at, byte)| usize::from(*byte) == at % 251)
            );
        }
    }

    #[test]
    fn what_is_cut_moved_changed_or_of_another_file_does_not_open() {
        let (id, size) = (Uuid::now_v7(), 3 * CHUNK);
        let all = sealed(id, size);
        assert!(opened(Uuid::now_v7(), size, &all).is_none());
        let [first, second, third] = &all[..] else {
            panic!("three chunks")
        };
        for other in [
            vec![second.clone(), first.clone(), third.clone()],
            vec![first.clone(), first.clone(), third.clone()],
            vec![first.clone(), second.clone()],
            vec![first.clone(), second.clone(), third.clone(), third.clone()],
        ] {
            assert!(opened(id, size, &other).is_none());
        }
        // A file that says it is shorter: its new last chunk bears no mark.
        assert!(opened(id, 2 * CHUNK, &all[..2]).is_none());
        let mut flipped = all.clone();
        flipped[1][100] ^= 1;
        assert!(opened(id, size, &flipped).is_none());
    }
}
