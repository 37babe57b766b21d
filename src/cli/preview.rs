//! Not yet.
#[derive(Debug, clap::Args)]
pub struct PreviewArgs {}
pub fn run(_args: &PreviewArgs, _stop: &std::sync::atomic::AtomicBool) -> anyhow::Result<()> {
    Ok(())
}
