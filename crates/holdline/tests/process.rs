//! The program as an operator meets it: real processes, files and signals.

mod support;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use support::{Node, ask, ask_json, free_port, holdline, text};

#[test]
fn a_bad_file_is_judged_whole_and_nothing_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(
        folder.path().join("h.toml"),
        "[edge]\nlistn = []\ndomains = [1]\n",
    )
    .expect("written");
    for verb in ["check", "run", "status"] {
        let output = ask(folder.path(), &[verb, "--config", "h.toml"]);
        assert_eq!(output.status.code(), Some(78), "{verb}");
        let errors = text(&output.stderr);
        assert!(
            errors.contains("h.toml:2:1: unknown key `edge.listn`; did you mean"),
            "{errors}"
        );
        assert!(errors.contains("h.toml:3:12: "), "{errors}");
    }
    assert_eq!(
        fs::read_dir(folder.path()).expect("readable").count(),
        1,
        "nothing was made"
    );
    let output = ask(folder.path(), &["check", "--config", "h.toml", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["mistakes"].as_array().expect("a list").len(), 2);
    let output = ask(folder.path(), &["check", "--config", "absent.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("absent.toml: cannot be read"));
}

#[test]
fn users_are_kept_in_the_store_when_no_node_runs_and_a_node_is_told_when_one_does() {
    let node = Node::start("");
    let folder = node.path();
    let add = [
        "user",
        "add",
        "alice@example.org",
        "--password",
        "x",
        "--json",
    ];
    assert_eq!(ask_json(folder, &add)["in"], "node");
    let again = ask(folder, &add);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("user alice@example.org exists already"));
    assert!(!node.log().contains("alice@"), "{}", node.log());
    let url = format!("http://127.0.0.1:{}", node.admin);
    let listed = ask_json(Path::new("/"), &["user", "list", "--json", "--admin", &url]);
    assert_eq!(listed["items"][0]["aor"], "alice@example.org");
    node.signal("-TERM");
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["holdline.toml", "data"] {
        fs::rename(node.path().join(name), folder.path().join(name)).expect("the same disk");
    }
    assert_eq!(node.end(), Some(0));
    let folder = folder.path();
    let passwd = [
        "user",
        "passwd",
        "alice@example.org",
        "--password",
        "y",
        "--json",
    ];
    assert_eq!(ask_json(folder, &passwd)["in"], "store");
    assert_eq!(
        ask_json(folder, &["domain", "list", "--json"])["items"][0]["configured"],
        true
    );
    let del = ["user", "del", "alice@example.org"];
    assert!(ask(folder, &del).status.success());
    assert_eq!(ask(folder, &del).status.code(), Some(1));
    let status = ask(folder, &["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(
        text(&status.stderr).contains("no node answers"),
        "{}",
        text(&status.stderr)
    );
}

#[test]
fn a_reload_of_a_bad_file_leaves_the_old_one_in_force_and_names_the_mistakes() {
    let node = Node::start("");
    let file = node.path().join("holdline.toml");
    let good = fs::read_to_string(&file).expect("readable");
    fs::write(&file, format!("{good}[edge.timers]\nt1 = 5\n")).expect("written");
    node.signal("-HUP");
    node.wait_for(|node| node.log().contains("unknown key `edge.timers.t1`"));
    let (status, answer) = node.http("POST /api/reload");
    assert!(
        status == 422 && answer.contains("did you mean `edge.timers.t1_ms`?"),
        "{answer}"
    );
    assert_eq!(
        ask_json(node.path(), &["status", "--json", "--admin", &node.url()])["state"],
        "ready"
    );
    let changed = good.replace("example.org", "example.com");
    fs::write(&file, format!("{changed}[log]\nformat = \"json\"\n")).expect("written");
    let answer = ask_json(node.path(), &["reload", "--json"]);
    assert_eq!(answer["needs_restart"][0], "log.format");
    let status = ask_json(node.path(), &["status", "--json"]);
    assert_eq!(status["domains"], serde_json::json!(["example.com"]));
    let again = ask_json(node.path(), &["reload", "--json"]);
    assert_eq!(again, answer, "the same file still asks for a restart");
    fs::write(&file, &changed).expect("written");
    let back = ask_json(node.path(), &["reload", "--json"]);
    assert_eq!(back["needs_restart"], serde_json::json!([]));
    node.signal("-INT");
    assert_eq!(node.end(), Some(0));
}

#[test]
fn a_token_guards_the_api_and_the_verbs_find_it() {
    let node = Node::start("token = \"0123456789abcdef\"\n");
    assert_eq!(node.http("GET /metrics").0, 401);
    assert_eq!(
        ask_json(node.path(), &["status", "--json"])["state"],
        "ready"
    );
    let refused = ask(Path::new("/"), &["status", "--admin", &node.url()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("Authorization: Bearer"),
        "{}",
        text(&refused.stderr)
    );
    let mut named = holdline(Path::new("/"), &["status", "--admin", &node.url()]);
    let named = named.env("HOLDLINE_TOKEN", "0123456789abcdef").output();
    assert!(named.expect("built").status.success());
    assert!(ask(node.path(), &["drain"]).status.success());
    assert_eq!(node.end(), Some(0));
}

#[test]
fn two_nodes_do_not_share_a_data_folder() {
    let node = Node::start("");
    let file = node.path().join("holdline.toml");
    let other = fs::read_to_string(file)
        .expect("readable")
        .replace(&format!(":{}", node.admin), ":0");
    fs::write(node.path().join("other.toml"), other).expect("written");
    let output = ask(node.path(), &["run", "--config", "other.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("another holdline runs on the data folder"));
}

#[test]
fn a_demo_makes_two_users_and_sums_up_at_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port().to_string();
    let mut demo = holdline(
        folder.path(),
        &["demo", "--alone", "--json", "--port", &port],
    );
    demo.env("TMPDIR", folder.path());
    let mut child = demo.stdout(Stdio::piped()).spawn().expect("built");
    let mut lines = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut lines, &mut line).expect("open");
    let ready: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(ready["event"], "ready");
    assert_eq!(ready["users"][1]["aor"], "bob@127.0.0.1");
    assert!(ready["users"][0]["password"].as_str().expect("text").len() >= 8);
    let admin = format!("http://{}", ready["admin"].as_str().expect("text"));
    let users = ask_json(
        folder.path(),
        &["user", "list", "--json", "--admin", &admin],
    );
    assert_eq!(users["items"].as_array().expect("a list").len(), 2);
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .expect("kill is there")
            .success()
    );
    let mut rest = String::new();
    lines.read_to_string(&mut rest).expect("open");
    assert!(child.wait().expect("a child").success());
    assert!(rest.contains(r#""event":"summary""#), "{rest}");
    assert_eq!(
        fs::read_dir(folder.path()).expect("readable").count(),
        0,
        "nothing is left"
    );
}
