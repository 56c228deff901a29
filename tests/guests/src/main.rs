//! Rebuilds and checks what is generated: the SDK's bindings.

#![forbid(unsafe_code)]

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    for (path, bytes) in bellhop_test_guests::bindings::generate("plugin-sdk".as_ref())? {
        std::fs::write(&path, &bytes).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
