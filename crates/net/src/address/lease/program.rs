//! The program that the kernel runs for each packet of an interface: what is sent from the address, or for it
//! by ARP and neighbour discovery, is dropped unless the deadline is ahead. So is what comes for it.
//!
//! In words, for packets that leave:
//!
//! ```text
//! if it was forwarded (came by another interface): let it pass
//! if it is IPv4 and its source is the address, or ARP and its sender is,
//!    or IPv6 and its source is, or a neighbour advertisement and its target is:
//!        drop it unless deadline > time since boot
//! ```
//!
//! Packets of others pass: on a member that does not own the service, the address is the owner's, whom this machine may
//! talk to. That is why only the source counts for what leaves, and only the destination for what comes.

use crate::sys::Instruction;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Which packets of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Those that leave.
    Out,
    /// Those that come.
    In,
}

/// Let other programs of the operator's decide (`TC_ACT_UNSPEC`).
const PASS: i32 = -1;
/// Drop the packet (`TC_ACT_SHOT`).
const SHOT: i32 = 2;

// Offsets in `struct __sk_buff`.
const PROTOCOL: i16 = 16;
const INGRESS_INTERFACE: i16 = 36;

// Offsets in packets, from the network header.
const IPV4_SOURCE: i32 = 12;
const IPV4_DESTINATION: i32 = 16;
const ARP_SENDER: i32 = 14;
const IPV6_BYTES: i32 = 40;
const IPV6_NEXT: i16 = 6;
const IPV6_SOURCE: i16 = 8;
const IPV6_DESTINATION: i16 = 24;
const ICMPV6: i32 = 58;
const ADVERTISEMENT: i32 = 136;
const ADVERTISEMENT_BYTES: i32 = 24;
const ADVERTISEMENT_TARGET: i16 = 8;

// Helper functions of the kernel.
const LOAD_BYTES_RELATIVE: i32 = 68;
const FROM_NETWORK_HEADER: i32 = 1;
const KTIME_BOOT: i32 = 125;

/// Where bytes of the packet are put, from the frame's end. A multiple of eight, with room for an IPv6 header.
const BYTES: i16 = -64;

// Codes of instructions.
const MOVE: u8 = 0xBF;
const MOVE_NUMBER: u8 = 0xB7;
const ADD_NUMBER: u8 = 0x07;
const LOAD_8: u8 = 0x71;
const LOAD_32: u8 = 0x61;
const LOAD_64: u8 = 0x79;
const LOAD_NUMBER_64: u8 = 0x18;
const JUMP: u8 = 0x05;
const JUMP_EQUAL_NUMBER: u8 = 0x15;
const JUMP_OTHER_NUMBER: u8 = 0x55;
const JUMP_OTHER: u8 = 0x5D;
const JUMP_OTHER_NUMBER_32: u8 = 0x56;
const JUMP_NOT_BELOW: u8 = 0x3D;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// The number is the address of a map's value: the source register of a `LOAD_NUMBER_64`.
const OF_MAP_VALUE: u8 = 2;

// Registers: a call takes 1 to 5, returns 0 and keeps 6 to 9; 10 is the frame's end.
const CONTEXT: u8 = 6;
const DEADLINE: u8 = 7;
const FRAME: u8 = 10;

/// Where a jump goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Source,
    Load,
    Advertisement,
    Check,
    Pass,
    Drop,
}

/// The program for `address` and what goes in one direction, measured by the number in `deadline`.
pub(super) fn program(
    address: IpAddr,
    direction: Direction,
    deadline: BorrowedFd<'_>,
) -> Vec<Instruction> {
    let mut code = Assembler::default();
    code.put(MOVE, CONTEXT, 1, 0, 0);
    if direction == Direction::Out {
        code.put(LOAD_32, 2, CONTEXT, INGRESS_INTERFACE, 0);
        code.jump(JUMP_OTHER_NUMBER, 2, 0, 0, Label::Pass);
    }
    code.put(LOAD_32, 2, CONTEXT, PROTOCOL, 0);
    match address {
        IpAddr::V4(ip) => code.ipv4(ip, direction),
        IpAddr::V6(ip) => code.ipv6(ip, direction),
    }
    code.label(Label::Check);
    // The deadline is read before the clock: a pause between them makes it stricter.
    code.put(
        LOAD_NUMBER_64,
        DEADLINE,
        OF_MAP_VALUE,
        0,
        deadline.as_raw_fd(),
    );
    code.put(0, 0, 0, 0, 0);
    code.put(LOAD_64, DEADLINE, DEADLINE, 0, 0);
    code.put(CALL, 0, 0, 0, KTIME_BOOT);
    code.jump(JUMP_NOT_BELOW, 0, DEADLINE, 0, Label::Drop);
    code.label(Label::Pass);
    code.put(MOVE_NUMBER, 0, 0, 0, PASS);
    code.put(EXIT, 0, 0, 0, 0);
    code.label(Label::Drop);
    code.put(MOVE_NUMBER, 0, 0, 0, SHOT);
    code.put(EXIT, 0, 0, 0, 0);
    code.finish()
}

#[derive(Default)]
struct Assembler {
    code: Vec<Instruction>,
    jumps: Vec<(usize, Label)>,
    labels: Vec<(Label, usize)>,
}

impl Assembler {
    fn put(&mut self, code: u8, to: u8, from: u8, offset: i16, immediate: i32) {
        let registers = if cfg!(target_endian = "little") {
            from << 4 | to
        } else {
            to << 4 | from
        };
        self.code.push(Instruction {
            code,
            registers,
            offset,
            immediate,
        });
    }

    fn jump(&mut self, code: u8, left: u8, right: u8, number: i32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.put(code, left, right, 0, number);
    }

    fn label(&mut self, label: Label) {
        self.labels.push((label, self.code.len()));
    }

    fn ipv4(&mut self, ip: Ipv4Addr, direction: Direction) {
        if direction == Direction::Out {
            self.jump(JUMP_EQUAL_NUMBER, 2, 0, protocol(0x0800), Label::Source);
            self.jump(JUMP_OTHER_NUMBER, 2, 0, protocol(0x0806), Label::Pass);
            self.put(MOVE_NUMBER, 2, 0, 0, ARP_SENDER);
            self.jump(JUMP, 0, 0, 0, Label::Load);
            self.label(Label::Source);
            self.put(MOVE_NUMBER, 2, 0, 0, IPV4_SOURCE);
            self.label(Label::Load);
        } else {
            self.jump(JUMP_OTHER_NUMBER, 2, 0, protocol(0x0800), Label::Pass);
            self.put(MOVE_NUMBER, 2, 0, 0, IPV4_DESTINATION);
        }
        self.load_from(4);
        self.put(LOAD_32, 1, FRAME, BYTES, 0);
        let number = i32::from_ne_bytes(ip.octets());
        self.jump(JUMP_OTHER_NUMBER_32, 1, 0, number, Label::Pass);
    }

    fn ipv6(&mut self, ip: Ipv6Addr, direction: Direction) {
        self.jump(JUMP_OTHER_NUMBER, 2, 0, protocol(0x86DD), Label::Pass);
        self.put(MOVE_NUMBER, 2, 0, 0, 0);
        self.load_from(IPV6_BYTES);
        if direction == Direction::In {
            self.unless_equal(IPV6_DESTINATION, ip, Label::Pass);
            return;
        }
        self.unless_equal(IPV6_SOURCE, ip, Label::Advertisement);
        self.jump(JUMP, 0, 0, 0, Label::Check);
        // From an address of the machine's own, but telling where this one is.
        self.label(Label::Advertisement);
        self.put(LOAD_8, 1, FRAME, BYTES + IPV6_NEXT, 0);
        self.jump(JUMP_OTHER_NUMBER, 1, 0, ICMPV6, Label::Pass);
        self.put(MOVE_NUMBER, 2, 0, 0, IPV6_BYTES);
        self.load_from(ADVERTISEMENT_BYTES);
        self.put(LOAD_8, 1, FRAME, BYTES, 0);
        self.jump(JUMP_OTHER_NUMBER, 1, 0, ADVERTISEMENT, Label::Pass);
        self.unless_equal(ADVERTISEMENT_TARGET, ip, Label::Pass);
    }

    /// Puts so many bytes of the packet, from the offset that register 2 has, on the stack. A packet without them passes.
    fn load_from(&mut self, length: i32) {
        self.put(MOVE, 1, CONTEXT, 0, 0);
        self.put(MOVE, 3, FRAME, 0, 0);
        self.put(ADD_NUMBER, 3, 0, 0, i32::from(BYTES));
        self.put(MOVE_NUMBER, 4, 0, 0, length);
        self.put(MOVE_NUMBER, 5, 0, 0, FROM_NETWORK_HEADER);
        self.put(CALL, 0, 0, 0, LOAD_BYTES_RELATIVE);
        self.jump(JUMP_OTHER_NUMBER, 0, 0, 0, Label::Pass);
    }

    /// Jumps unless the 16 bytes on the stack at `offset` are `ip`.
    fn unless_equal(&mut self, offset: i16, ip: Ipv6Addr, to: Label) {
        let octets = ip.octets();
        for (half, bytes) in octets.chunks_exact(8).enumerate() {
            let word = |at: usize| {
                i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
            };
            let (low, high) = if cfg!(target_endian = "little") {
                (word(0), word(4))
            } else {
                (word(4), word(0))
            };
            self.put(LOAD_64, 1, FRAME, BYTES + offset + 8 * half as i16, 0);
            self.put(LOAD_NUMBER_64, 2, 0, 0, low);
            self.put(0, 0, 0, 0, high);
            self.jump(JUMP_OTHER, 1, 2, 0, to);
        }
    }

    /// Fills in how far the jumps go.
    fn finish(mut self) -> Vec<Instruction> {
        for (at, wanted) in self.jumps {
            let label = self.labels.iter().find(|(label, _)| *label == wanted);
            let (_, target) = label.expect("every label that is jumped to is set");
            self.code[at].offset = (target - at - 1) as i16;
        }
        self.code
    }
}

/// An Ethernet protocol as the kernel has it beside a packet.
fn protocol(number: u16) -> i32 {
    i32::from(number.to_be())
}

#[cfg(test)]
mod tests;
