//! Checks of the manifests: tiers, and where third-party dependencies come from.

use super::Finding;
use super::tiers::{self, OUTSIDE};
use toml::de::{DeTable, DeValue};

/// A dependency as one manifest writes it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// The crate it names, also where the manifest renames it.
    pub(crate) name: String,
    pub(crate) line: usize,
    /// `workspace = true`: version and features are decided in one place.
    pub(crate) inherited: bool,
    /// A path: a crate of ours.
    pub(crate) is_path: bool,
    dev: bool,
}

/// A manifest taken apart.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
    /// Of the root manifest: `[workspace.dependencies]`.
    pub(crate) workspace_dependencies: Vec<Dependency>,
    /// `[lints] workspace = true`.
    inherits_lints: bool,
}

impl Manifest {
    /// Reads a manifest's text.
    ///
    /// # Errors
    /// What is wrong with it as TOML.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let root = DeTable::parse(text)
            .map_err(|error| error.to_string())?
            .into_inner();
        let mut manifest = Self::default();
        if let Some(package) = table(&root, "package") {
            manifest.name = string(package, "name").unwrap_or_default();
        }
        manifest.inherits_lints =
            table(&root, "lints").is_some_and(|lints| truth(lints, "workspace"));
        if let Some(workspace) = table(&root, "workspace") {
            manifest.workspace_dependencies = dependencies(text, workspace, "dependencies");
        }
        let mut add = |from: &DeTable<'_>| {
            for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
                manifest.dependencies.extend(dependencies(text, from, kind));
            }
        };
        add(&root);
        for target in table(&root, "target")
            .iter()
            .flat_map(|targets| targets.values())
        {
            if let DeValue::Table(target) = target.get_ref() {
                add(target);
            }
        }
        Ok(manifest)
    }

    /// Checks a crate's manifest: its place, what it depends on, and how.
    pub(crate) fn check(&self, path: &str, in_workspace: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut error = |line, what| findings.push(Finding::error(path, line, what));
        let Some(place) = tiers::find(&self.name) else {
            error(
                1,
                format!(
                    "the crate `{}` has no tier: give it one in xtask's tidy/tiers.rs",
                    self.name
                ),
            );
            return findings;
        };
        if in_workspace && !self.inherits_lints {
            error(
                1,
                "no `[lints] workspace = true`: the lints hold for every crate".to_owned(),
            );
        }
        for dependency in &self.dependencies {
            let name = dependency.name.as_str();
            if let Some(other) = tiers::find(name) {
                if let Some(why) = place.refuses(other) {
                    error(dependency.line, why);
                }
                continue;
            }
            if in_workspace && !dependency.inherited {
                let what = "say `workspace = true` and put its version in the root manifest";
                error(dependency.line, format!("`{name}`: {what}"));
            }
            if place.is_pure() && !dependency.dev && OUTSIDE.contains(&name) {
                let what = "a pure crate takes inputs and a time and returns effects";
                error(
                    dependency.line,
                    format!("`{name}` brings the outside in: {what}"),
                );
            }
        }
        findings
    }
}

fn table<'a, 'i>(of: &'a DeTable<'i>, key: &str) -> Option<&'a DeTable<'i>> {
    match of.get(key)?.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

fn string(of: &DeTable<'_>, key: &str) -> Option<String> {
    match of.get(key)?.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    }
}

fn truth(of: &DeTable<'_>, key: &str) -> bool {
    of.get(key)
        .is_some_and(|value| matches!(value.get_ref(), DeValue::Boolean(true)))
}

fn dependencies(text: &str, of: &DeTable<'_>, kind: &str) -> Vec<Dependency> {
    let Some(entries) = table(of, kind) else {
        return Vec::new();
    };
    let read = |(key, value): (
        &toml::Spanned<std::borrow::Cow<'_, str>>,
        &toml::Spanned<DeValue<'_>>,
    )| {
        let line = 1 + text[..key.span().start].matches('\n').count();
        let name = key.get_ref().to_string();
        let dev = kind == "dev-dependencies";
        match value.get_ref() {
            DeValue::Table(table) => Dependency {
                name: string(table, "package").unwrap_or(name),
                line,
                inherited: truth(table, "workspace"),
                is_path: table.contains_key("path"),
                dev,
            },
            _ => Dependency {
                name,
                line,
                inherited: false,
                is_path: false,
                dev,
            },
        }
    };
    let mut read: Vec<_> = entries.iter().map(read).collect();
    read.sort_by_key(|dependency| dependency.line);
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let manifest = Manifest::parse(text).unwrap();
        manifest
            .check("Cargo.toml", true)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn with(name: &str, rest: &str) -> Vec<String> {
        found(&format!(
            "[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{rest}"
        ))
    }

    #[test]
    fn an_upward_dependency_is_found_on_its_line() {
        let found = with(
            "sip",
            "[dependencies]\nmemchr.workspace = true\nproxy.workspace = true\n",
        );
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("Cargo.toml:7: error: `sip` (tier 1) depends upwards on `proxy`")
        );
    }

    #[test]
    fn dev_build_and_target_dependencies_count_too() {
        for section in [
            "dev-dependencies",
            "build-dependencies",
            "target.'cfg(unix)'.dependencies",
        ] {
            let found = with(
                "proxy",
                &format!("[{section}]\nnet = {{ workspace = true }}\n"),
            );
            assert_eq!(found.len(), 1, "{section}");
        }
    }

    #[test]
    fn a_renamed_dependency_is_seen_through() {
        let rest = "[dependencies]\nx = { package = \"net\", workspace = true }\n";
        assert_eq!(with("proxy", rest).len(), 1);
    }

    #[test]
    fn a_crate_without_a_tier_is_an_error() {
        assert!(with("sip2", "")[0].contains("no tier"));
    }

    #[test]
    fn a_pure_crate_does_not_depend_on_an_async_runtime_but_its_tests_may() {
        assert_eq!(
            with("proxy", "[dependencies]\ntokio.workspace = true\n").len(),
            1
        );
        assert_eq!(
            with("proxy", "[dev-dependencies]\ntokio.workspace = true\n").len(),
            0
        );
        assert_eq!(
            with("net", "[dependencies]\ntokio.workspace = true\n").len(),
            0
        );
    }

    #[test]
    fn versions_are_decided_in_the_root_manifest() {
        assert!(with("net", "[dependencies]\nlibc = \"0.2\"\n")[0].contains("workspace = true"));
    }

    #[test]
    fn every_crate_takes_the_workspace_lints() {
        assert!(found("[package]\nname = \"net\"\n")[0].contains("lints"));
    }

    #[test]
    fn broken_toml_is_told() {
        assert!(Manifest::parse("[package\n").is_err());
    }
}
