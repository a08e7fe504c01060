//! Checks of the documents that must be true at every commit.

use super::Finding;

/// A decision is a page.
const DECISION_LINES_MAX: usize = 120;

/// Every one of `names` (name, and where it is asked for) has a line in the document `path`.
pub(crate) fn names_all(
    path: &str,
    text: &str,
    names: &[(String, String)],
    what: &str,
) -> Vec<Finding> {
    let missing = names
        .iter()
        .filter(|(name, _)| !text.contains(&format!("`{name}`")));
    missing
        .map(|(name, from)| {
            Finding::error(
                path,
                1,
                format!("no line for `{name}` ({what}; asked for by {from})"),
            )
        })
        .collect()
}

/// A decision: `NNNN-title.md`, a title, at least one section, a page.
pub(crate) fn decision(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut error = |line, what: &str| findings.push(Finding::error(path, line, what.to_owned()));
    let file = path.rsplit('/').next().unwrap_or(path);
    if number(file).is_none() {
        error(1, "a decision is called NNNN-title-in-lower-case.md");
    }
    if !text
        .lines()
        .next()
        .is_some_and(|line| line.starts_with("# "))
    {
        error(1, "a decision begins with its title, `# ...`");
    }
    if !text.lines().any(|line| line.starts_with("## ")) {
        error(
            1,
            "a decision has sections: the question, what was chosen and what was passed over",
        );
    }
    if text.lines().count() > DECISION_LINES_MAX {
        error(DECISION_LINES_MAX, "a decision is a page: shorten it");
    }
    findings
}

/// The number of a decision's file, if the name is well formed.
pub(crate) fn number(file: &str) -> Option<&str> {
    let (number, title) = file.strip_suffix(".md")?.split_once('-')?;
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let well_formed = number.len() == 4
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && !title.is_empty()
        && title.chars().all(lower);
    well_formed.then_some(number)
}

/// Folders of one machine: a file that names one works nowhere else.
pub(crate) fn foreign_paths(path: &str, text: &str) -> Vec<Finding> {
    // Written so that this file does not find itself.
    let folders = [concat!("/", "work/"), concat!("/", "farm/")];
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for folder in folders {
            let absolute = line.match_indices(folder).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "._-*})/".contains(c))
            });
            if absolute {
                let what = format!("`{folder}` is a path of one machine: make it relative");
                findings.push(Finding::error(path, index + 1, what));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_line_is_found() {
        let names = [
            ("memchr".to_owned(), "Cargo.toml:3".to_owned()),
            ("toml".to_owned(), "Cargo.toml:4".to_owned()),
        ];
        let found = names_all(
            "docs/dependencies.md",
            "| `memchr` | scanning |",
            &names,
            "what for",
        );
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().contains("`toml`"));
    }

    #[test]
    fn a_decision_has_a_number_a_title_and_sections() {
        let good = "# A title\n\n## Decision\nx\n";
        assert!(decision("docs/decisions/0001-a-title.md", good).is_empty());
        assert_eq!(decision("docs/decisions/1-a.md", good).len(), 1);
        assert_eq!(decision("docs/decisions/0001-A.md", good).len(), 1);
        assert_eq!(decision("docs/decisions/0001-a.md", "text\n").len(), 2);
        assert_eq!(
            decision(
                "docs/decisions/0001-a.md",
                &format!("{good}{}", "\n".repeat(200))
            )
            .len(),
            1
        );
    }

    #[test]
    fn a_path_of_one_machine_is_found_but_no_relative_one() {
        let folder = concat!("/", "work/");
        assert_eq!(foreign_paths("x", &format!("a\ncd {folder}x\n")).len(), 1);
        assert_eq!(foreign_paths("x", &format!("\"{folder}\"")).len(), 1);
        assert!(foreign_paths("x", &format!("home{folder}x .{folder}y")).is_empty());
    }
}
