//! The kernel: where a node image has it, and its uncompressed form out of a bzImage.
//!
//! Compressed, it would first unpack itself, which under software emulation takes longer than all the rest of its start.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Start, no_machine};
use crate::disk;
use crate::error::{Error, Result};
use crate::image::NodeImage;

/// A kernel and its modules, on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kernel {
    /// `6.12.117+deb13-cloud-amd64`.
    pub(super) version: String,
    /// A bzImage, or the ELF file itself.
    pub(super) file: PathBuf,
    /// With `modules.dep`.
    pub(super) modules: PathBuf,
}

const PREFIX: &str = "vmlinuz-";

/// The kernel of a node image: the newest by name, if there are several.
pub(super) fn find(image: &NodeImage) -> Result<Kernel> {
    let named = || format!("node image `{}`", image.reference);
    let boots = image.layers.iter().map(|layer| layer.unpacked.join("boot"));
    let entries = boots.filter_map(|boot| boot.read_dir().ok()).flatten();
    let newest = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(PREFIX))
        .max()
        .ok_or_else(|| no_machine(named(), "it has no kernel"))?;
    let version = newest[PREFIX.len()..].to_owned();
    let found = |path: String| {
        let missing = || no_machine(named(), format!("it has no /{path}"));
        image.in_layers(&path).ok_or_else(missing)
    };
    Ok(Kernel {
        file: found(format!("boot/{newest}"))?,
        modules: found(format!("usr/lib/modules/{version}"))?,
        version,
    })
}

/// The uncompressed kernel, which has an entry for PVH.
pub(super) fn extract(kernel: &Kernel) -> Result<Vec<u8>> {
    let named = kernel.file.display().to_string();
    let bytes = disk::read(&kernel.file)?;
    let vmlinux = uncompress(bytes).map_err(|reason| no_machine(&named, reason))?;
    if has_pvh_entry(&vmlinux) {
        Ok(vmlinux)
    } else {
        Err(no_machine(&named, "it has no PVH entry (CONFIG_PVH)"))
    }
}

/// A kernel of the person's own. One without an entry for PVH is left a bzImage: it unpacks itself, in some seconds. So is one
/// that starts with firmware, and one that is an ELF file cannot.
pub(super) fn own(file: &Path, start: Start) -> Result<Vec<u8>> {
    let refused = |reason: &str| Error::NoKernel {
        path: file.to_path_buf(),
        reason: reason.to_owned(),
    };
    let bytes = disk::read(file)?;
    let is_image = !bytes.starts_with(ELF);
    let vmlinux = uncompress(bytes.clone()).map_err(|reason| refused(&reason))?;
    match (has_pvh_entry(&vmlinux), is_image) {
        (_, true) if start == Start::Firmware => Ok(bytes),
        (true, _) => Ok(vmlinux),
        (false, true) => Ok(bytes),
        (false, false) => Err(refused(
            "it is an ELF file without a PVH entry (CONFIG_PVH), and not a bzImage either",
        )),
    }
}

/// Out of a bzImage (kernel: Documentation/arch/x86/boot.rst); an ELF file is what it is to be already.
fn uncompress(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    if bytes.starts_with(ELF) {
        return Ok(bytes);
    }
    let payload = payload(&bytes).ok_or("it is neither a bzImage nor an ELF file")?;
    let mut vmlinux = Vec::new();
    // The length of what is unpacked follows the stream, but for gzip, which ends with it (scripts/Makefile.lib).
    let stream = &payload[..payload.len().saturating_sub(4)];
    let unpacked = match payload {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            zstd::Decoder::new(stream).and_then(|mut decoder| decoder.read_to_end(&mut vmlinux))
        }
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            xz2::read::XzDecoder::new(stream).read_to_end(&mut vmlinux)
        }
        [0x1f, 0x8b, ..] => flate2::read::GzDecoder::new(payload).read_to_end(&mut vmlinux),
        _ => return Err("it is compressed by neither zstd nor xz nor gzip".into()),
    };
    match unpacked {
        Ok(_) if vmlinux.starts_with(ELF) => Ok(vmlinux),
        Ok(_) => Err("what it holds is no ELF file".into()),
        Err(error) => Err(format!("it cannot be unpacked: {error}")),
    }
}

const ELF: &[u8] = b"\x7fELF";

/// Of the setup header: its magic, and where the compressed kernel is, counted from the protected-mode code (2.08).
fn payload(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let sectors = match *bytes.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + number(bytes, 0x248)?;
    bytes.get(start..start.checked_add(number(bytes, 0x24c)?)?)
}

/// 32 bits, little endian.
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

/// Whether the notes of a 64-bit ELF file (elf(5)) have `XEN_ELFNOTE_PHYS32_ENTRY`.
fn has_pvh_entry(elf: &[u8]) -> bool {
    const ENTRY: usize = 18;
    const NOTE: usize = 4;
    let long = |at: usize| -> Option<usize> {
        let bytes = elf.get(at..at.checked_add(8)?)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    let search = || -> Option<()> {
        let (headers, count) = (long(0x20)?, usize::from(*elf.get(0x38)?));
        for header in (0..count).map(|index| headers + index * 56) {
            if number(elf, header)? != NOTE {
                continue;
            }
            let start = long(header + 8)?;
            let mut notes = elf.get(start..start.checked_add(long(header + 32)?)?)?;
            while let (Some(name), Some(content), Some(kind)) =
                (number(notes, 0), number(notes, 4), number(notes, 8))
            {
                if kind == ENTRY && notes.get(12..12 + name) == Some(b"Xen\0") {
                    return Some(());
                }
                let length = 12 + name.next_multiple_of(4) + content.next_multiple_of(4);
                notes = notes.get(length..)?;
            }
        }
        None
    };
    search().is_some()
}

/// Reads a file that may be compressed, as its name says.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    use crate::error::IoContext as _;
    let bytes = disk::read(path)?;
    let mut plain = Vec::new();
    let unpacked = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => xz2::read::XzDecoder::new(&bytes[..]).read_to_end(&mut plain),
        Some("zst") => {
            zstd::Decoder::new(&bytes[..]).and_then(|mut decoder| decoder.read_to_end(&mut plain))
        }
        Some("gz") => flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut plain),
        _ => return Ok(bytes),
    };
    unpacked.at("unpack", path)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// A 64-bit ELF file with one program header and one note.
    fn elf(name: &[u8; 4], kind: u32) -> Vec<u8> {
        let mut elf = vec![0; 64 + 56];
        elf[..4].copy_from_slice(ELF);
        elf[0x20..0x28].copy_from_slice(&64u64.to_le_bytes());
        elf[0x38] = 1;
        elf[64..68].copy_from_slice(&4u32.to_le_bytes());
        elf[72..80].copy_from_slice(&120u64.to_le_bytes());
        elf[96..104].copy_from_slice(&36u64.to_le_bytes());
        for (name, kind) in [(b"GNU\0", 18), (name, kind)] {
            elf.extend(4u32.to_le_bytes());
            elf.extend(2u32.to_le_bytes());
            elf.extend(kind.to_le_bytes());
            elf.extend(name);
            elf.extend([1, 2, 0, 0]);
        }
        elf.truncate(120 + 36);
        elf
    }

    fn bz_image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 3 * 512];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&512u32.to_le_bytes());
        let length = u32::try_from(payload.len()).unwrap();
        image[0x24c..0x250].copy_from_slice(&length.to_le_bytes());
        image.extend(payload);
        image.extend([0xff; 100]);
        image
    }

    #[test]
    fn a_kernel_comes_out_of_every_kind_of_bz_image() {
        let plain = elf(b"Xen\0", 18);
        let mut xz = xz2::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&plain).unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&plain).unwrap();
        let length = u32::try_from(plain.len()).unwrap().to_le_bytes();
        let with_length = |packed: Vec<u8>| [packed, length.to_vec()].concat();
        let zstd = with_length(zstd::encode_all(&plain[..], 1).unwrap());
        let xz = with_length(xz.finish().unwrap());
        for packed in [zstd, xz, gz.finish().unwrap()] {
            assert_eq!(uncompress(bz_image(&packed)).unwrap(), plain);
        }
        assert_eq!(uncompress(plain.clone()).unwrap(), plain);
    }

    #[test]
    fn what_is_no_kernel_is_refused_with_a_reason() {
        let packed = [zstd::encode_all(&b"text"[..], 1).unwrap(), vec![4, 0, 0, 0]].concat();
        for (bytes, reason) in [
            (b"text".to_vec(), "neither a bzImage nor an ELF file"),
            (
                bz_image(b"\x02\x21\x4c\x18"),
                "neither zstd nor xz nor gzip",
            ),
            (bz_image(&packed), "no ELF file"),
            (bz_image(&packed[..10]), "cannot be unpacked"),
        ] {
            let found = uncompress(bytes).unwrap_err();
            assert!(found.contains(reason), "{found}");
        }
    }

    #[test]
    fn only_the_note_of_xen_is_an_entry() {
        assert!(has_pvh_entry(&elf(b"Xen\0", 18)));
        assert!(!has_pvh_entry(&elf(b"Xen\0", 17)));
        assert!(!has_pvh_entry(&elf(b"Xin\0", 18)));
        assert!(!has_pvh_entry(ELF));
    }
}
