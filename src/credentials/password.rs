//! Argon2id records as PHC strings. `imported.rs` handles the records of other algorithms.

use argon2::password_hash::phc::{Ident, Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::hasher::HasherError;
use super::imported::{self, Checker};
use crate::model::PasswordRecord;
use crate::random;

/// Length of a hash in bytes.
const HASH_BYTES: usize = 32;
/// Length of a salt in bytes (RFC 9106, section 3.1: 16 bytes for password hashing).
const SALT_BYTES: usize = 16;

/// Whether a record costs less than one with these parameters, or was imported. `false` for a
/// malformed record: checking it returns an error.
pub(super) fn is_weaker(record: &PasswordRecord, current: &Params) -> bool {
    if let Some(scheme) = imported::parse(record) {
        return scheme.is_ok();
    }
    parse(record).is_ok_and(|(params, ..)| {
        params.m_cost() < current.m_cost() || params.t_cost() < current.t_cost()
    })
}

/// Creates a record that costs as much to check as any other with these parameters and that no
/// password matches, because its hash is random.
pub(super) fn unmatchable_record(params: &Params) -> Result<PasswordRecord, HasherError> {
    let hash = random::bytes::<HASH_BYTES>()?;
    record(params, &random::bytes::<SALT_BYTES>()?, &hash)
}

/// Hashes a password with a new salt.
pub(super) fn hash(
    params: &Params,
    password: &[u8],
    memory: &mut Memory,
) -> Result<PasswordRecord, HasherError> {
    let salt = random::bytes::<SALT_BYTES>()?;
    let mut hash = Zeroizing::new([0u8; HASH_BYTES]);
    derive(params, password, &salt, hash.as_mut_slice(), memory)?;
    record(params, &salt, hash.as_slice())
}

fn record(params: &Params, salt: &[u8], hash: &[u8]) -> Result<PasswordRecord, HasherError> {
    let unwritable = |_| HasherError::Record;
    let phc = PasswordHash {
        algorithm: Ident::new(Algorithm::Argon2id.as_str()).map_err(unwritable)?,
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(|_| HasherError::Record)?,
        salt: Some(Salt::new(salt).map_err(unwritable)?),
        hash: Some(Output::new(hash).map_err(unwritable)?),
    };
    Ok(PasswordRecord::new(phc.to_string()))
}

/// Cost of a hash: memory, passes over it, and lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    pub(super) const fn new(memory_kib: u32, passes: u32, lanes: u32) -> Self {
        Self {
            memory_kib,
            passes,
            lanes,
        }
    }

    pub(super) fn of(params: &Params) -> Self {
        Self::new(params.m_cost(), params.t_cost(), params.p_cost())
    }
}

/// Does the work of a hash and discards the result.
pub(super) fn spend(cost: Cost, memory: &mut Memory) -> Result<(), HasherError> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(HASH_BYTES))
        .map_err(|error| HasherError::Argon2(error.to_string()))?;
    let mut hash = [0; HASH_BYTES];
    derive(&params, b"", &[0; SALT_BYTES], &mut hash, memory)?;
    std::hint::black_box(hash);
    Ok(())
}

/// Checks a password. Compares the hashes in constant time. Also returns the cost, if the record is
/// Argon2id.
pub(super) fn verify(
    password: &[u8],
    record: &PasswordRecord,
    memory: &mut Memory,
) -> Result<(bool, Option<Cost>), HasherError> {
    if let Some(scheme) = imported::parse(record) {
        return Ok((Checker::default().verify(password, &scheme?), None));
    }
    let (params, salt, known) = parse(record)?;
    let mut hash = Zeroizing::new(vec![0u8; known.len()]);
    derive(&params, password, &salt, &mut hash, memory)?;
    Ok((hash.ct_eq(known.as_bytes()).into(), Some(Cost::of(&params))))
}

/// Returns the index of the imported record that a secret matches. Malformed records match nothing.
pub(super) fn find(secret: &[u8], records: &[PasswordRecord]) -> Option<usize> {
    let mut checker = Checker::default();
    let matches = |record: &PasswordRecord| match imported::parse(record) {
        Some(Ok(scheme)) => checker.verify(secret, &scheme),
        _ => false,
    };
    records.iter().position(matches)
}

fn parse(record: &PasswordRecord) -> Result<(Params, Salt, Output), HasherError> {
    let phc = PasswordHash::new(record.expose()).map_err(|_| HasherError::Record)?;
    let known = phc.algorithm.as_str() == Algorithm::Argon2id.as_str()
        && phc.version == Some(Version::V0x13.into());
    match (Params::try_from(&phc), phc.salt, phc.hash) {
        (Ok(params), Some(salt), Some(hash)) if known => Ok((params, salt, hash)),
        _ => Err(HasherError::Record),
    }
}

fn derive(
    params: &Params,
    password: &[u8],
    salt: &[u8],
    hash: &mut [u8],
    memory: &mut Memory,
) -> Result<(), HasherError> {
    let blocks = memory.blocks(params.block_count())?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into_with_memory(password, salt, hash, blocks)
        .map_err(|error| HasherError::Argon2(error.to_string()))
}

/// Argon2's work memory, reused for the next hash. The first access to new memory costs a fifth of
/// the time of a hash at the default of 19 MiB, and half at 46 MiB.
#[derive(Default)]
pub(super) struct Memory(Vec<Block>);

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Memory {
    /// Allocates the memory for a hash at this cost.
    pub(super) fn prepare(&mut self, cost: Cost) -> Result<(), HasherError> {
        // Enough for any number of lanes, because the number of blocks rounds down.
        let blocks = usize::try_from(cost.memory_kib).map_err(|_| HasherError::OutOfMemory)?;
        self.blocks(blocks).map(|_| ())
    }

    fn blocks(&mut self, count: usize) -> Result<&mut [Block], HasherError> {
        if let Some(missing) = count.checked_sub(self.0.len()) {
            // A failed allocation is an error and does not abort the process.
            self.0
                .try_reserve_exact(missing)
                .map_err(|_| HasherError::OutOfMemory)?;
            self.0.resize_with(count, Block::default);
        }
        Ok(&mut self.0[..count])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap(iterations: u32) -> Params {
        Params::new(8, iterations, 1, None).unwrap()
    }

    #[test]
    fn a_record_is_a_phc_string_with_its_parameters() {
        let record = hash(&cheap(3), b"secret", &mut Memory::default()).unwrap();
        assert!(record.expose().starts_with("$argon2id$v=19$m=8,t=3,p=1$"));
    }

    #[test]
    fn only_the_same_bytes_match() {
        let memory = &mut Memory::default();
        let record = hash(&cheap(1), "pässword".as_bytes(), memory).unwrap();
        assert!(verify("pässword".as_bytes(), &record, memory).unwrap().0);
        for wrong in ["passwort", "pässword ", "", "PÄSSWORD"] {
            assert!(!verify(wrong.as_bytes(), &record, memory).unwrap().0);
        }
    }

    /// Test vector of the reference implementation (phc-winner-argon2,
    /// `test.c`): "password", "somesalt", t=2, m=65536, p=1.
    #[test]
    fn verifies_a_record_of_the_reference_implementation() {
        let record = PasswordRecord::new(
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$\
             CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
                .into(),
        );
        assert!(
            verify(b"password", &record, &mut Memory::default())
                .unwrap()
                .0
        );
    }

    #[test]
    fn a_record_with_less_memory_or_fewer_passes_is_weaker() {
        let record = hash(&cheap(2), b"x", &mut Memory::default()).unwrap();
        assert!(is_weaker(&record, &cheap(3)));
        assert!(!is_weaker(&record, &cheap(2)));
        assert!(!is_weaker(&record, &cheap(1)));
        let more_memory = Params::new(16, 1, 1, None).unwrap();
        assert!(is_weaker(&record, &more_memory));
    }

    #[test]
    fn an_imported_record_is_weaker_at_any_cost() {
        for text in [
            "$pbkdf2-sha256$i=2000000,l=32$c29tZXNhbHQ$\
             CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$2b$12$EcfJx/g23yjNwKR2DN393OA5lJ8C5EqNPNMfT0IyDMCkhlXSoIwKa",
        ] {
            assert!(
                is_weaker(&PasswordRecord::new(text.into()), &cheap(1)),
                "{text}"
            );
        }
        let unreadable = PasswordRecord::new("$2b$99$x".into());
        assert!(!is_weaker(&unreadable, &cheap(1)));
    }

    #[test]
    fn nothing_matches_the_unmatchable_record() {
        let record = unmatchable_record(&cheap(1)).unwrap();
        assert!(!verify(b"", &record, &mut Memory::default()).unwrap().0);
    }

    #[test]
    fn the_error_of_a_malformed_record_does_not_quote_it() {
        let record = PasswordRecord::new("$argon2id$secret-stuff".into());
        let error = verify(b"x", &record, &mut Memory::default()).unwrap_err();
        assert!(!error.to_string().contains("secret-stuff"));
    }
}
