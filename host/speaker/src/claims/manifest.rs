//! A claim as the manifest of an AddressClaim, and back.

use bellhop_core::objects::AddressClaim;
use bellhop_index::{ClaimError, claim_object, claim_of};

/// Why a text is not the manifest of a claim.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not YAML, or not of this kind.
    #[error("is no AddressClaim: {0}")]
    Syntax(String),
    /// It is of this kind, and no claim.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

/// A claim as YAML.
///
/// # Errors
/// What the encoder said.
pub fn claim_to_yaml(claim: &AddressClaim) -> Result<String, ManifestError> {
    serde_saphyr::to_string(&claim_object(claim)).map_err(|error| ManifestError::Syntax(error.to_string()))
}

/// A claim from YAML.
///
/// # Errors
/// What is wrong with it, and in which field.
pub fn claim_from_yaml(text: &str) -> Result<AddressClaim, ManifestError> {
    let object = serde_saphyr::from_str(text).map_err(|error| ManifestError::Syntax(error.to_string()))?;
    Ok(claim_of(object)?)
}
