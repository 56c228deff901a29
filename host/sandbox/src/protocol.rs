//! What parent and compiler say to each other over the pipes: one request, one reply, each a frame.
//!
//! ```text
//! magic (8)  header length (4, little-endian)  body length (4)  header: JSON  body: bytes
//! ```
//! The request's body is the module as it is stored, the reply's the native code. Both sides bound what they read
//! before they read it.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use bellhop_core::objects::Hook;
use bellhop_policy_engine::guest::Metadata;
pub use bellhop_policy_engine::rollout::Stage;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// First octets of each frame; its digits change with the protocol, so that programs of two releases never mix.
const MAGIC: [u8; 8] = *b"BHCOMP01";

/// Most bytes of a header: metadata with its schema and self-tests is a few KiB.
const HEADER_MAX: usize = 1 << 20;

/// Most bytes of native code: a module at the limits becomes some 10 MiB.
pub const NATIVE_MAX: usize = 32 << 20;

/// CPU seconds of one compile: the worst module that passes the checks takes two.
pub const CPU_SECONDS: u64 = 10;

/// Why a module was refused, from a closed set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// The policy's sha256 is none.
    DigestMalformed,
    /// The module's sha256 is another.
    DigestMismatch,
    /// Stored or uncompressed it is larger than is taken.
    TooLarge,
    /// Truncated, not zstd, not WebAssembly, or not valid.
    Malformed,
    /// Native code: never taken, as it cannot be checked.
    Precompiled,
    /// It imports what the contract does not have.
    ForeignImport,
    /// It exports no hook, or not those that its metadata names, or of other types.
    Contract,
    /// Its metadata section is missing or wrong.
    Metadata,
    /// A function, or all of them, would cost too much to compile.
    TooComplex,
    /// The compiler reached its limit of memory or CPU time.
    CompilerLimit,
    /// The compiler got too little of the CPU to end in time; the machine's fault, worth another try.
    CompilerStarved,
    /// The compiler refused it or failed.
    CompilerFailed,
    /// The compiler could not be started; the machine's fault, worth another try.
    CompilerUnavailable,
    /// Not enough memory is left to compile; the machine's fault, worth another try.
    NoMemory,
    /// The config is larger than is taken, or the module refuses it.
    Config,
    /// The module failed while it was configured or tested.
    Failed,
    /// It answered one of its own cases differently.
    SelfTest,
    /// The runtime failed; the machine's fault, worth another try.
    Infrastructure,
}

impl Refusal {
    /// Metric label and condition reason.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DigestMalformed => "DigestMalformed",
            Self::DigestMismatch => "DigestMismatch",
            Self::TooLarge => "TooLarge",
            Self::Malformed => "Malformed",
            Self::Precompiled => "Precompiled",
            Self::ForeignImport => "ForeignImport",
            Self::Contract => "Contract",
            Self::Metadata => "Metadata",
            Self::TooComplex => "TooComplex",
            Self::CompilerLimit => "CompilerLimit",
            Self::CompilerStarved => "CompilerStarved",
            Self::CompilerFailed => "CompilerFailed",
            Self::CompilerUnavailable => "CompilerUnavailable",
            Self::NoMemory => "NoMemory",
            Self::Config => "Config",
            Self::Failed => "Failed",
            Self::SelfTest => "SelfTest",
            Self::Infrastructure => "Infrastructure",
        }
    }

    /// True where the same bytes may be taken at another time.
    pub fn transient(self) -> bool {
        matches!(
            self,
            Self::CompilerStarved | Self::CompilerUnavailable | Self::NoMemory | Self::Infrastructure
        )
    }
}

/// Bounds that a module must keep before Cranelift sees it: its cost grows with function bodies times their locals, so
/// that a 6 KB upload could take 34 s and 2.4 GB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Checks {
    /// Bytes of the module as it is stored.
    pub stored_bytes: u64,
    /// Bytes of the uncompressed module.
    pub module_bytes: u64,
    /// Bytes of one function's body; the largest of a module with a full regex engine has 60 KB.
    pub body_bytes: u64,
    /// Locals of one function; that one has 544.
    pub locals: u64,
    /// Sum over all functions of body bytes times locals: 0.5 to 1.3 M are usual, 40 M the largest seen, bombs start
    /// at 1,000 M.
    pub body_locals: u64,
    /// Functions of a module.
    pub functions: u64,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            stored_bytes: crate::limits::MODULE_STORED_BYTES as u64,
            module_bytes: 4 << 20,
            body_bytes: 128 << 10,
            locals: 2_000,
            body_locals: 128_000_000,
            functions: 20_000,
        }
    }
}

/// Header of a request; the body is the module, raw or zstd.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// sha256 that the uncompressed module must have, 64 lower-case hex digits.
    pub sha256: String,
    /// Bounds that it must keep.
    pub checks: Checks,
}

/// Header of a reply.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The body is native code.
    Compiled {
        /// What the module says of itself.
        metadata: Box<Metadata>,
        /// Hooks that it exports: those of its metadata.
        hooks: BTreeSet<Hook>,
    },
    /// No body.
    Refused {
        /// The step that it did not pass.
        stage: Stage,
        /// Why, for machines.
        refusal: Refusal,
        /// Why, for people.
        message: String,
    },
}

/// Writes one frame.
///
/// # Errors
/// Where writing fails, or header or body have more than 4 GiB.
pub fn write_frame(out: &mut impl Write, header: &impl Serialize, body: &[u8]) -> io::Result<()> {
    let header = serde_json::to_vec(header)?;
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other).map(u32::to_le_bytes);
    out.write_all(&MAGIC)?;
    out.write_all(&length(&header)?)?;
    out.write_all(&length(body)?)?;
    out.write_all(&header)?;
    out.write_all(body)?;
    out.flush()
}

/// Reads one frame with a body of at most `body_max` bytes.
///
/// # Errors
/// Where reading fails or ends early, or what comes is no frame within its bounds.
pub fn read_frame<H: DeserializeOwned>(input: &mut impl Read, body_max: usize) -> io::Result<(H, Vec<u8>)> {
    let mut magic = [0; 8];
    input.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(io::Error::other("no frame of this release's compiler protocol"));
    }
    let mut length = |what: &str, max: usize| {
        let mut bytes = [0; 4];
        input.read_exact(&mut bytes)?;
        let length = u32::from_le_bytes(bytes) as usize;
        if length > max {
            return Err(io::Error::other(format!("a {what} of {length} bytes; at most {max} are taken")));
        }
        Ok(length)
    };
    let (header_length, body_length) = (length("header", HEADER_MAX)?, length("body", body_max)?);
    let mut header = vec![0; header_length];
    input.read_exact(&mut header)?;
    let mut body = vec![0; body_length];
    input.read_exact(&mut body)?;
    Ok((serde_json::from_slice(&header)?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request { sha256: "0".repeat(64), checks: Checks::default() }
    }

    #[test]
    fn a_frame_reads_back_as_it_was_written() {
        let mut wire = Vec::new();
        write_frame(&mut wire, &request(), b"module").unwrap();
        let (header, body): (Request, _) = read_frame(&mut wire.as_slice(), 6).unwrap();
        assert_eq!((header, body.as_slice()), (request(), b"module".as_slice()));
    }

    #[test]
    fn a_frame_that_is_cut_off_foreign_or_too_large_is_refused() {
        let mut wire = Vec::new();
        write_frame(&mut wire, &request(), b"module").unwrap();
        for length in 0..wire.len() {
            assert!(read_frame::<Request>(&mut &wire[..length], 6).is_err(), "{length} bytes");
        }
        assert!(read_frame::<Request>(&mut wire.as_slice(), 5).is_err());
        wire[0] = b'X';
        assert!(read_frame::<Request>(&mut wire.as_slice(), 6).is_err());
    }
}
