use super::*;
use std::fs::File;
use std::os::fd::AsFd;

const INSTRUCTIONS_MAX: usize = 64;

#[test]
fn programs_are_short_and_go_forward_to_one_of_two_ends() {
    // Any descriptor does: nothing is loaded here.
    let file = File::open("/dev/null").expect("it is there");
    for address in ["10.0.0.100", "fd07::100"] {
        let address = address.parse().expect("an address");
        for direction in [Direction::Out, Direction::In] {
            let code = program(address, direction, file.as_fd());
            println!("{address} {direction:?}: {} instructions", code.len());
            assert!(code.len() < INSTRUCTIONS_MAX);
            let ends = code.iter().filter(|one| one.code == EXIT).count();
            assert_eq!(ends, 2);
            for (at, one) in code.iter().enumerate() {
                let jumps = matches!(one.code & 7, 5 | 6) && !matches!(one.code, CALL | EXIT);
                if jumps {
                    assert!(one.offset >= 0, "a loop at {at}");
                    let target = at + 1 + one.offset as usize;
                    assert!(target < code.len(), "{at} jumps to {target}");
                    assert_ne!(code[target].code, 0, "{at} jumps into a number");
                }
            }
        }
    }
}
