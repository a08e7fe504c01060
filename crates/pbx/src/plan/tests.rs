use super::*;

fn build(text: &str) -> Result<Plan, Vec<Mistake>> {
    let source = Source {
        name: "test",
        text,
        is_shared: false,
    };
    Plan::build(&[source], &|name| name != "nowhere")
}

/// Mistakes as an operator sees them.
fn mistakes(text: &str) -> String {
    let mistakes = build(text).expect_err("there are mistakes");
    let lines = mistakes
        .iter()
        .map(|one| format!("{}: {}\n", one.line(text), one.fault));
    lines.collect()
}

#[test]
fn every_mistake_is_named_with_its_line() {
    let text = include_str!("tests/mistakes.toml");
    assert_eq!(mistakes(text), include_str!("tests/mistakes.txt"));
}

#[test]
fn the_examples_of_the_reference_have_no_mistakes() {
    let text = include_str!("../../../../docs/dialplan.md");
    let mut examples = String::new();
    for (number, part) in text.split("```").enumerate() {
        if number % 2 == 1 && part.starts_with("toml\n") {
            examples += &part[5..];
        }
    }
    let source = Source {
        name: "docs/dialplan.md",
        text: &examples,
        is_shared: false,
    };
    let has_prompt = |name: &str| crate::prompts::find(name).is_some() || name.starts_with("own/");
    let plan = Plan::build(&[source], &has_prompt);
    let plan = plan.unwrap_or_else(|mistakes| {
        let lines: Vec<String> = mistakes
            .iter()
            .map(|one| {
                let line = one.line(&examples);
                let text = examples.lines().nth(line - 1).unwrap_or("");
                format!("{text}: {}", one.fault)
            })
            .collect();
        panic!("{}", lines.join("\n"))
    });
    assert!(plan.routes.len() > 10 && plan.menus.len() == 1);
}

#[test]
fn what_is_not_toml_is_told_by_its_line() {
    assert!(mistakes("[pbx]\nzone = \n").starts_with("2: not TOML"));
}

#[test]
fn keys_of_other_readers_are_passed_over_where_the_text_is_shared() {
    let text = "[node]\nname = \"x\"\n[pbx]\nlisten = [\"udp:5070\"]\n[[pbx.route]]\npattern = \"1\"\nsteps = [\"echo\"]";
    let source = Source {
        name: "holdline.toml",
        text,
        is_shared: true,
    };
    assert!(Plan::build(&[source], &|_| true).is_ok());
    assert!(mistakes(text).starts_with("1: unknown key `node`"));
}

#[test]
fn several_sources_make_one_plan() {
    let one = Source {
        name: "file",
        text: "[[pbx.route]]\npattern = \"1\"\nsteps = [\"goto 2\"]",
        is_shared: false,
    };
    let two = Source {
        name: "store",
        text: "\n[[pbx.route]]\npattern = \"2\"\nsteps = [\"menu gone\"]",
        is_shared: false,
    };
    let mistakes = Plan::build(&[one, two], &|_| true).unwrap_err();
    assert_eq!((mistakes.len(), mistakes[0].source), (1, 1));
    assert_eq!(mistakes[0].line(two.text), 4);
}

fn steps(plan: &Plan, number: &str, rights: Option<&[String]>) -> String {
    match plan.find(number, rights, 0) {
        Found::Extension(extension) => format!("extension {}", extension.number),
        Found::Route(route, rest) => {
            let steps: Vec<String> = route.steps.iter().map(Step::to_string).collect();
            format!("{} / {rest}", steps.join(", "))
        }
        Found::Denied => "denied".to_owned(),
        Found::Nothing => "nothing".to_owned(),
    }
}

#[test]
fn the_most_specific_pattern_has_the_call() {
    let plan = build(
        r#"
[[pbx.extension]]
number = "123"
phones = ["ann"]
[[pbx.route]]
pattern = "."
steps = ["hangup 404"]
[[pbx.route]]
pattern = "1XX"
steps = ["echo"]
[[pbx.route]]
pattern = ["12X", "3!"]
for = ["known"]
steps = ["milliwatt"]
"#,
    )
    .unwrap();
    assert_eq!(steps(&plan, "123", None), "extension 123");
    assert_eq!(steps(&plan, "ann", None), "extension 123");
    assert_eq!(steps(&plan, "122", None), "milliwatt / 2");
    assert_eq!(steps(&plan, "3", None), "milliwatt / ");
    assert_eq!(steps(&plan, "199", None), "echo / 99");
    assert_eq!(steps(&plan, "9", None), "hangup 404 / 9");
    // Who is not of the class comes to the next one that fits.
    let rights = plan.rights("x", false);
    assert_eq!(steps(&plan, "122", Some(&rights)), "echo / 22");
    assert_eq!(steps(&plan, "*97", Some(&rights)), "hangup 404 / *97");
    assert_eq!(
        steps(&plan, "*97", Some(&plan.rights("x", true))),
        "mailbox own / "
    );
}

#[test]
fn services_give_way_to_routes_of_the_operator() {
    let plan = build(
        "[[pbx.route]]\npattern = \"*97\"\nsteps = [\"echo\"]\n[pbx.features]\npickup = \"\"",
    )
    .unwrap();
    assert_eq!(steps(&plan, "*97", None), "echo / ");
    assert_eq!(steps(&plan, "*8", None), "nothing");
    assert_eq!(steps(&plan, "701", None), "unpark $number / ");
}

#[test]
fn an_empty_dialplan_is_one() {
    assert!(build("").is_ok());
    assert_eq!(steps(&build("").unwrap(), "101", None), "nothing");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(\\[\\[pbx\\.(route|menu|queue|extension)\\]\\]\n|(pattern|steps|name|number|keys|agents|for) = (\"[0-9XN.\\[\\]$a-z ]{0,12}\"|\\[\"(goto|ring|when|on busy) [a-z0-9$]{0,5}\"\\]|3|\\{1 = \"goto 1\"\\})\n){0,12}") {
        let _ = build(&text);
    }

    #[test]
    fn no_step_makes_the_reader_panic(text in "[a-z]{0,6}( [a-z0-9$:@/.*#]{0,8}){0,6}") {
        if let Ok(step) = Step::parse(&text) {
            proptest::prop_assert_eq!(Step::parse(&step.to_string()), Ok(step));
        }
    }
}
