use super::*;

const PURE: Rules = Rules {
    pure: true,
    may_be_unsafe: false,
    is_test: false,
    beside_src: false,
};
const PLAIN: Rules = Rules {
    pure: false,
    ..PURE
};

fn found(text: &str, rules: Rules) -> Vec<String> {
    check("x.rs", text, rules)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[track_caller]
fn finds(text: &str, rules: Rules, line: usize, part: &str) {
    let found = found(text, rules);
    assert!(
        found
            .iter()
            .any(|f| f.starts_with(&format!("x.rs:{line}: ")) && f.contains(part)),
        "{part} on line {line} not in {found:#?}"
    );
}

#[track_caller]
fn accepts(text: &str, rules: Rules) {
    assert_eq!(found(text, rules), Vec::<String>::new());
}

#[test]
fn a_pure_crate_reads_no_clock() {
    finds(
        "use std::time::Instant;\nfn f() { let t = Instant::now(); }",
        PURE,
        2,
        "Instant::now",
    );
    finds(
        "fn f() { let t = std::time::SystemTime::now(); }",
        PURE,
        1,
        "time as a parameter",
    );
    accepts(
        "use std::time::{Duration, Instant};\nfn f(now: Instant) -> Instant { now }",
        PURE,
    );
    accepts("fn f() { let t = Instant::now(); }", PLAIN);
}

#[test]
fn a_pure_crate_knows_addresses_but_no_sockets() {
    accepts("use std::net::{IpAddr, SocketAddr};", PURE);
    finds(
        "use std::net::{IpAddr,\n    UdpSocket};",
        PURE,
        2,
        "std::net::UdpSocket",
    );
    finds("fn f(s: &std::net::TcpStream) {}", PURE, 1, "TcpStream");
}

#[test]
fn nested_use_trees_are_spread_out() {
    finds(
        "use std::{collections::HashMap, fs::{self, File}, fmt};",
        PURE,
        1,
        "std::fs::File",
    );
    finds("use {std::{env as e}, core::fmt};", PURE, 1, "`std::env`");
    finds("use std::sync::{Arc, Mutex as M};", PURE, 1, "one owner");
    accepts(
        "use std::{fmt::{self, Write as _}, sync::Arc};\nuse self::a::{b::*, c};",
        PURE,
    );
}

#[test]
fn a_pure_crate_has_no_threads_files_environment_processes_locks_randomness_or_printing() {
    for text in [
        "fn f() { std::thread::sleep(d) }",
        "fn f() { std::fs::read(p) }",
        "fn f() { std::env::var(n) }",
        "fn f() { std::process::exit(1) }",
        "struct S { m: Mutex<u8> }",
        "struct S { m: RwLock<u8> }",
        "fn f() { rand::rng() }",
        "fn f() { rand::thread_rng() }",
        "async fn f() { tokio::spawn(x) }",
        "fn f() { println!() }",
    ] {
        assert_eq!(found(text, PURE).len(), 1, "{text}");
        accepts(text, PLAIN);
    }
    accepts(
        "fn f(environment: u8, mutex: u8) { env!(\"X\"); a::thread(); my::fs::read() }",
        PURE,
    );
}

#[test]
fn tests_of_a_pure_crate_may_reach_outside() {
    accepts(
        "fn f() {}\n#[cfg(test)]\nmod tests { fn g() { std::fs::read(p).unwrap() } }",
        PURE,
    );
    accepts(
        "#[test]\n#[ignore]\nfn g() { std::fs::read(p).unwrap() }",
        PURE,
    );
    accepts(
        "fn g() { std::fs::read(p).unwrap() }",
        Rules {
            is_test: true,
            ..PURE
        },
    );
    finds(
        "#[cfg(not(test))]\nfn g() { std::fs::read(p) }",
        PURE,
        2,
        "std::fs",
    );
    finds(
        "#[cfg(test)]\nmod tests;\nfn g() { std::fs::read(p) }",
        PURE,
        3,
        "std::fs",
    );
}

#[test]
fn words_in_strings_and_comments_are_no_code() {
    accepts(
        "// unsafe, std::fs and x.unwrap()\nconst A: &str = \"unsafe { todo!() }\";",
        PURE,
    );
}

#[test]
fn unsafe_is_for_net_and_for_counting_allocators() {
    let text = "#[cfg(test)]\nmod tests {\n unsafe impl A for B {} }";
    finds(text, PLAIN, 3, "unsafe");
    accepts(
        text,
        Rules {
            may_be_unsafe: true,
            ..PLAIN
        },
    );
    accepts(
        text,
        Rules {
            is_test: true,
            beside_src: true,
            ..PLAIN
        },
    );
    accepts("#![forbid(unsafe_code)]", PLAIN);
}

#[test]
fn a_long_function_is_an_error_and_a_longish_one_a_note() {
    let function = |lines: usize| format!("\nfn long() {{{}}}", "\n".repeat(lines - 1));
    accepts(&function(70), PLAIN);
    finds(&function(71), PLAIN, 2, "note: `long` has 71 lines");
    finds(&function(100), PLAIN, 2, "note:");
    finds(&function(101), PLAIN, 2, "error: `long` has 101 lines");
    accepts(
        &format!("#[cfg(test)]\nmod t {{ {} }}", function(101)),
        PLAIN,
    );
}

#[test]
fn a_brace_in_a_string_does_not_end_a_function() {
    let text = format!(
        "fn f() {{ let a = \"}}\"; let b = '}}'; /* }} */ {} }}",
        "\n".repeat(101)
    );
    finds(&text, PLAIN, 1, "102 lines");
}

#[test]
fn a_file_is_measured_without_its_tests() {
    let code = "const A: u8 = 1;\n".repeat(799);
    let tests = format!(
        "#[cfg(test)]\nmod tests {{\n{}}}\n",
        "// a line\n".repeat(500)
    );
    accepts(&format!("{code}const B: u8 = 1;\n{tests}"), PLAIN);
    finds(
        &format!("{code}const B: u8 = 1;\nconst C: u8 = 1;\n{tests}"),
        PLAIN,
        1,
        "801 lines",
    );
}

#[test]
fn what_is_unfinished_is_found() {
    finds("fn f() {\n todo!() }", PLAIN, 2, "todo!");
    finds(
        "fn f() { unimplemented!(\"x\") }",
        PLAIN,
        1,
        "unimplemented!",
    );
    finds("fn f() {}\n// a FIXME: later", PLAIN, 2, "FIXME");
    finds("/* one\n XXX */", PLAIN, 2, "XXX");
    accepts("// 4XXX and XXXL are no such words", PLAIN);
}

#[test]
fn unwrap_is_for_tests() {
    finds("fn f() { x\n .unwrap() }", PLAIN, 2, "unwrap()");
    accepts("fn f() { x.unwrap_or(1).unwrap_or_default() }", PLAIN);
    accepts(
        "#[cfg(all(test, unix))]\nmod t { fn f() { x.unwrap() } }",
        PLAIN,
    );
}

#[test]
fn vague_names_are_found_as_words() {
    finds("struct CallManager;", PLAIN, 1, "`manager`");
    finds("mod util;", PLAIN, 1, "`util`");
    finds("enum TestHelper {}", PLAIN, 1, "`helper`");
    finds("mod common {}", PLAIN, 1, "`common`");
    accepts(
        "struct Commonwealth; mod utilisation; struct Managed;",
        PLAIN,
    );
}

#[test]
fn a_getter_has_no_get() {
    finds("fn get_name(&self) {}", PLAIN, 1, "call it `name`");
    accepts(
        "fn get_mut(&mut self) {} fn get(&self) {} fn getter() {}",
        PLAIN,
    );
}

#[test]
fn modules_declared_for_tests_are_named() {
    let text = "mod a;\n#[cfg(test)]\nmod proptests;\n#[cfg(test)]\n#[path = \"x.rs\"]\npub(crate) mod x;\n\
                #[cfg(test)]\nmod inline { mod y; }\n#[cfg(test)]\nuse z;";
    assert_eq!(test_modules(text), ["proptests", "x"]);
}
