//! Programs in the kernel (bpf(2)), and one number that they and this process share.

use super::checked;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
/// The map's memory may be mapped into a process (Linux 5.5).
const BPF_F_MMAPABLE: u32 = 1 << 10;
/// Decides about packets of an interface (`BPF_PROG_TYPE_SCHED_CLS`).
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
/// What a map is mapped as: one page, whatever its size.
const SHARED_BYTES: usize = mem::size_of::<u64>();

/// An instruction, as the kernel has it (`struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u8,
    /// The destination in the low four bits, the source in the others (a little-endian machine's order).
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) immediate: i32,
}

#[repr(C)]
struct MapAttributes {
    map_type: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries_max: u32,
    flags: u32,
}

#[repr(C)]
struct ProgramAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// Calls bpf(2), which returns a descriptor.
fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the pointer is to live attributes of the size given. What they point to lives as long, see the callers.
    let raw = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            ptr::from_ref(attributes),
            mem::size_of::<T>(),
        )
    };
    let raw = checked(libc::c_int::try_from(raw).unwrap_or(-1))?;
    // SAFETY: the kernel just returned this descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// A number in memory that programs in the kernel read.
#[derive(Debug)]
pub(crate) struct SharedNumber {
    map: OwnedFd,
    mapped: NonNull<AtomicU64>,
}

// SAFETY: the memory belongs to this value alone in this process and is only used as an atomic.
unsafe impl Send for SharedNumber {}
// SAFETY: as above.
unsafe impl Sync for SharedNumber {}

impl SharedNumber {
    /// A new one, which is 0.
    pub(crate) fn new() -> io::Result<SharedNumber> {
        let map = bpf(
            BPF_MAP_CREATE,
            &MapAttributes {
                map_type: BPF_MAP_TYPE_ARRAY,
                key_bytes: 4,
                value_bytes: SHARED_BYTES as u32,
                entries_max: 1,
                flags: BPF_F_MMAPABLE,
            },
        )?;
        // SAFETY: a new mapping of a live descriptor, at an address of the kernel's choice.
        let mapped = unsafe {
            libc::mmap(
                ptr::null_mut(),
                SHARED_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapped = NonNull::new(mapped.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(SharedNumber { map, mapped })
    }

    /// Sets it. The next packet is measured by it.
    pub(crate) fn set(&self, value: u64) {
        // SAFETY: the mapping lives as long as `self`, is aligned to a page and holds eight bytes.
        unsafe { self.mapped.as_ref() }.store(value, Ordering::SeqCst);
    }
}

impl AsFd for SharedNumber {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

impl Drop for SharedNumber {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this size and is not used again.
        unsafe { libc::munmap(self.mapped.as_ptr().cast(), SHARED_BYTES) };
    }
}

/// Has the kernel check and keep a program that decides about packets.
pub(crate) fn load_program(instructions: &[Instruction], name: &str) -> io::Result<OwnedFd> {
    let mut attributes = ProgramAttributes {
        program_type: BPF_PROG_TYPE_SCHED_CLS,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        log_level: 0,
        log_bytes: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: [0; 16],
    };
    let length = name.len().min(attributes.name.len() - 1);
    attributes.name[..length].copy_from_slice(&name.as_bytes()[..length]);
    bpf(BPF_PROG_LOAD, &attributes)
}
