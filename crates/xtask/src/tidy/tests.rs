use super::*;

fn tree(files: &[(&str, &str)]) -> Tree {
    let files = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    Tree {
        files: files.collect(),
    }
}

fn errors(files: &[(&str, &str)]) -> Vec<String> {
    tree(files)
        .check()
        .iter()
        .map(ToString::to_string)
        .collect()
}

const ROOT: (&str, &str) = (
    "Cargo.toml",
    "[workspace.dependencies]\nsip = { path = \"crates/sip\" }\n",
);
const SIP: (&str, &str) = (
    "crates/sip/Cargo.toml",
    "[package]\nname = \"sip\"\n[lints]\nworkspace = true\n",
);
const LIB: (&str, &str) = ("crates/sip/src/lib.rs", "//! Messages.\n");
const MAP: (&str, &str) = ("docs/architecture.md", "- `sip`: messages\n");
const CLIPPY: (&str, &str) = (PURE_CLIPPY, "# rules\n");
const COPY: (&str, &str) = ("crates/sip/clippy.toml", "# rules\n");
const GOOD: &[(&str, &str)] = &[ROOT, SIP, LIB, MAP, CLIPPY, COPY];

fn with(more: &[(&str, &str)]) -> Vec<String> {
    let mut files: BTreeMap<_, _> = GOOD.iter().copied().collect();
    files.extend(more.iter().copied());
    errors(&files.into_iter().collect::<Vec<_>>())
}

fn without(path: &str) -> Vec<String> {
    errors(
        &GOOD
            .iter()
            .copied()
            .filter(|(name, _)| *name != path)
            .collect::<Vec<_>>(),
    )
}

#[test]
fn a_tidy_tree_has_no_findings() {
    assert_eq!(errors(GOOD), Vec::<String>::new());
}

#[test]
fn a_crate_is_on_the_map() {
    assert!(without("docs/architecture.md")[0].contains("is missing"));
    assert!(with(&[("docs/architecture.md", "nothing")])[0].contains("no line for `sip`"));
}

#[test]
fn a_third_party_dependency_has_its_line() {
    let root = ("Cargo.toml", "[workspace.dependencies]\nmemchr = \"2\"\n");
    assert!(with(&[root])[0].contains("docs/dependencies.md:1: error: is missing"));
    assert!(with(&[root, ("docs/dependencies.md", "x")])[0].contains("asked for by Cargo.toml:2"));
    assert!(with(&[root, ("docs/dependencies.md", "| `memchr` | x |")]).is_empty());
}

#[test]
fn a_pure_crate_has_the_pure_clippy_rules() {
    assert_eq!(without("crates/sip/clippy.toml").len(), 1);
    assert_eq!(with(&[("crates/sip/clippy.toml", "# others\n")]).len(), 1);
}

#[test]
fn a_library_says_what_it_is_for() {
    assert!(with(&[("crates/sip/src/lib.rs", "mod a;\n")])[0].contains("begins with"));
}

#[test]
fn test_code_is_known_by_its_place_or_by_its_declaration() {
    let outside = "fn f() { std::fs::read(p).unwrap() }\n";
    assert_eq!(with(&[("crates/sip/src/uri.rs", outside)]).len(), 2);
    for path in [
        "tests/torture.rs",
        "src/uri/tests.rs",
        "src/uri/tests/more.rs",
        "benches/b.rs",
    ] {
        assert!(
            with(&[(&format!("crates/sip/{path}"), outside)]).is_empty(),
            "{path}"
        );
    }
    let declares = ("crates/sip/src/uri.rs", "#[cfg(test)]\nmod proptests;\n");
    assert!(with(&[declares, ("crates/sip/src/uri/proptests.rs", outside)]).is_empty());
    assert!(with(&[declares, ("crates/sip/src/uri/proptests/deep.rs", outside)]).is_empty());
    assert_eq!(
        with(&[declares, ("crates/sip/src/proptests.rs", outside)]).len(),
        2
    );
}

#[test]
fn unsafe_lies_in_net_or_beside_src() {
    let text = "unsafe fn f() {}\n";
    assert_eq!(with(&[("crates/sip/src/tests.rs", text)]).len(), 1);
    assert!(with(&[("crates/sip/tests/allocations.rs", text)]).is_empty());
}

#[test]
fn the_folder_of_a_crate_has_its_name() {
    let moved = ("crates/net/Cargo.toml", SIP.1);
    assert!(
        with(&[moved])
            .iter()
            .any(|found| found.contains("one name"))
    );
}

#[test]
fn two_decisions_do_not_share_a_number() {
    let text = "# T\n## D\n";
    let one = ("docs/decisions/0001-a.md", text);
    assert!(with(&[one]).is_empty());
    assert!(with(&[one, ("docs/decisions/0001-b.md", text)])[0].contains("taken"));
}

#[test]
fn this_workspace_is_read_with_its_own_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tree = Tree::read(&root).unwrap();
    assert!(tree.files.contains_key("crates/xtask/src/tidy.rs"));
    assert!(!tree.files.keys().any(|path| path.starts_with("target/")));
}
