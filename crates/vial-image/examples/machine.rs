//! Makes what a virtual machine starts from, and says where it is:
//! `cargo run -p vial-image --example machine -- HOME IMAGE PROGRAM SPEC.json DIRECTORY`.
//!
//! `DIRECTORY` gets the machine's own `initrd` and a `data` disk of 10 GiB.
#![allow(clippy::print_stdout, reason = "an example's output")]

use std::path::Path;
use std::time::Instant;

use vial_image::{Store, machine};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [home, image, program, spec, directory] = &arguments[..] else {
        return Err("HOME IMAGE PROGRAM SPEC.json DIRECTORY".into());
    };
    let store = Store::open(Path::new(home))?;
    let image = store.ready(image)?;
    let start = Instant::now();
    let machine = store.machine(&image)?;
    println!("{machine:#?} {:?}", start.elapsed());
    let start = Instant::now();
    let disk = store.program_disk(&image, Path::new(program))?;
    println!("{} {:?}", disk.display(), start.elapsed());
    let start = Instant::now();
    let directory = Path::new(directory);
    machine::data_disk(&image, &directory.join("data"), 10 << 30)?;
    let initrd = machine::with_spec(std::fs::read(&machine.initrd)?, &std::fs::read(spec)?);
    std::fs::write(directory.join("initrd"), initrd)?;
    println!("data and initrd {:?}", start.elapsed());
    Ok(())
}
