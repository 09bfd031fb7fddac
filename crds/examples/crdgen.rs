//! Writes the CustomResourceDefinitions beside this crate's manifest: `cargo run -p portreeve-crds --example crdgen`.

use std::{error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, yaml) in portreeve_crds::v1alpha1::definitions() {
        fs::write(folder.join(file), serde_saphyr::to_string(&yaml)?)?;
    }
    Ok(())
}
