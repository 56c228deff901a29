//! Asking a speaker: one JSON line there, one JSON line back.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bellhop_core::report::{Answer, Question};

/// A speaker answers from memory; one that takes longer is stuck, and the operator should hear it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer read: 10,000 Services with two addresses and four peers are about 40 MB.
const ANSWER_MAX: u64 = 256 << 20;

/// Why a speaker could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no speaker answers at {}: {source}; is it running, and is --socket right? (To ask a cluster give \
             --kubeconfig, or set KUBECONFIG.)", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The conversation broke off.
    #[error("the speaker at {} did not answer: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The answer is none that this version knows.
    #[error("the speaker's answer is not understood (is it of another version?): {source}")]
    Form {
        /// The cause.
        #[from]
        source: serde_json::Error,
    },
}

/// Asks the speaker at `path`.
///
/// # Errors
/// When nobody listens, the answer does not come within 10 s, or it is not understood.
pub fn ask(path: &Path, question: &Question) -> Result<Answer, AskError> {
    let io = |source| AskError::Io { path: path.into(), source };
    let mut stream =
        UnixStream::connect(path).map_err(|source| AskError::Connect { path: path.into(), source })?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(io)?;
    stream.set_write_timeout(Some(TIMEOUT)).map_err(io)?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    stream.write_all(&line).map_err(io)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(ANSWER_MAX)).read_until(b'\n', &mut answer).map_err(io)?;
    Ok(serde_json::from_slice(&answer)?)
}
