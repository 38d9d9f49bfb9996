use anyhow::Result;
/// stub
pub(crate) fn run() -> Result<()> {
    Ok(())
}
