//! From the stored bytes to the module: zstd within bounds, and the sha256 that the policy names.

use std::io::Read;

use bellhop_sandbox::protocol::Request;
use bellhop_sandbox::{Refusal, Stage};
use sha2::{Digest, Sha256};

use crate::refusal::Refused;

/// First octets of a zstd frame (RFC 8878 section 3.1.1).
const ZSTD: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// Largest window that a frame may ask for, as a power of two: 8 MiB, the most that every decoder must take
/// (RFC 8878 section 3.1.1.1.2).
const WINDOW_LOG_MAX: u32 = 23;

/// The uncompressed module, which is the one that the request names.
pub(crate) fn module(stored: Vec<u8>, request: &Request) -> Result<Vec<u8>, Refused> {
    let most = request.checks.stored_bytes;
    if stored.len() as u64 > most {
        let message =
            format!("the module has {} bytes as it is stored; at most {most} are taken", stored.len());
        return Err(Refused::checked(Refusal::TooLarge, message));
    }
    let module =
        if stored.starts_with(&ZSTD) { inflated(&stored, request.checks.module_bytes)? } else { stored };
    let most = request.checks.module_bytes;
    if module.len() as u64 > most {
        return Err(too_large(most));
    }
    let digest: String = Sha256::digest(&module).iter().map(|byte| format!("{byte:02x}")).collect();
    if digest != request.sha256 {
        return Err(Refused::new(
            Stage::Verified,
            Refusal::DigestMismatch,
            format!("the module's sha256 is {digest}, and the policy names another"),
        ));
    }
    Ok(module)
}

fn inflated(stored: &[u8], most: u64) -> Result<Vec<u8>, Refused> {
    let broken = |error: std::io::Error| {
        Refused::checked(Refusal::Malformed, format!("the module cannot be uncompressed: zstd: {error}"))
    };
    let mut decoder = zstd::stream::read::Decoder::with_buffer(stored).map_err(broken)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(broken)?;
    let mut module = Vec::new();
    decoder.take(most.saturating_add(1)).read_to_end(&mut module).map_err(broken)?;
    if module.len() as u64 > most { Err(too_large(most)) } else { Ok(module) }
}

fn too_large(most: u64) -> Refused {
    let message =
        format!("the module has more than {most} bytes uncompressed, which is the most that is taken");
    Refused::checked(Refusal::TooLarge, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bellhop_sandbox::Checks;

    fn request(module: &[u8]) -> Request {
        let sha256 = Sha256::digest(module).iter().map(|byte| format!("{byte:02x}")).collect();
        Request { sha256, checks: Checks { stored_bytes: 1000, module_bytes: 5000, ..Checks::default() } }
    }

    #[test]
    fn a_module_is_taken_raw_and_as_zstd() {
        let raw = b"\0asm module".to_vec();
        assert_eq!(module(raw.clone(), &request(&raw)).unwrap(), raw);
        assert_eq!(module(zstd::encode_all(&raw[..], 19).unwrap(), &request(&raw)).unwrap(), raw);
    }

    #[test]
    fn a_module_that_inflates_beyond_the_bound_is_refused_before_it_is_whole() {
        let bomb = zstd::encode_all(&vec![0; 100 << 20][..], 19).unwrap();
        let request =
            Request { checks: Checks { stored_bytes: 1 << 20, ..Checks::default() }, ..request(b"") };
        let refused = module(bomb, &request).unwrap_err();
        assert_eq!((refused.stage, refused.refusal), (Stage::Checked, Refusal::TooLarge));
    }

    #[test]
    fn another_sha256_is_refused_naming_the_right_one() {
        let refused = module(b"one".to_vec(), &request(b"other")).unwrap_err();
        assert_eq!((refused.stage, refused.refusal), (Stage::Verified, Refusal::DigestMismatch));
        assert!(refused.message.contains(&request(b"one").sha256), "{}", refused.message);
    }

    #[test]
    fn zstd_that_is_cut_off_is_malformed() {
        let whole = zstd::encode_all(&b"module"[..], 19).unwrap();
        let refused = module(whole[..whole.len() - 1].to_vec(), &request(b"module")).unwrap_err();
        assert_eq!(refused.refusal, Refusal::Malformed);
    }
}
