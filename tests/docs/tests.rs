//! The map of the tests names only what is there, and all of it.

use super::project;

fn map() -> String {
    std::fs::read_to_string(project().join("tests/README.md")).unwrap()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_the_map_names_is_there() {
    let (map, mut functions, mut files) = (map(), 0, 0);
    for name in quoted(&map).filter(|name| name.starts_with("tests/") || name.starts_with("src/")) {
        let (file, function) = name.split_once("::").map_or((name, None), |(file, function)| (file, Some(function)));
        let path = project().join(file);
        assert!(path.exists(), "{name}");
        files += 1;
        if let Some(function) = function {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(&format!("fn {function}(")), "{name}");
            functions += 1;
        }
    }
    assert!(files > 40 && functions > 30, "{files} files and {functions} functions were found in the map");
}

#[test]
fn every_layer_that_the_map_names_is_there_and_all_are_named() {
    let torture = std::fs::read_to_string(project().join("tests/torture/src/main.rs")).unwrap();
    let layers = torture.split_once("enum Layer {").unwrap().1.split_once("\n}").unwrap().0;
    let name = |line: &str| Some(line.trim().split_once('(')?.0.to_owned());
    let shown = |layer: String| {
        let dashed = layer.chars().enumerate().flat_map(|(at, c)| {
            let dash = c.is_ascii_uppercase() && at > 0;
            dash.then_some('-').into_iter().chain([c.to_ascii_lowercase()])
        });
        dashed.collect::<String>()
    };
    let layers: Vec<String> =
        layers.lines().filter(|line| !line.trim().starts_with(['/', '#'])).filter_map(name).map(shown).collect();
    assert!(layers.contains(&"fsync-eio".to_owned()), "{layers:?}");
    let map = map();
    for name in quoted(&map).filter_map(|name| name.strip_prefix("torture ")) {
        assert!(layers.iter().any(|layer| layer == name), "torture {name}");
    }
    for layer in layers.iter().filter(|layer| *layer != "worker") {
        assert!(map.contains(&format!("| `{layer}` |")), "{layer} is not in the table of layers");
    }
}

#[test]
fn every_fault_has_a_row_with_a_test_or_says_what_it_comes_with() {
    let map = map();
    let faults = map.split_once("## Faults").unwrap().1.split_once("## Planted").unwrap().0;
    let rows: Vec<(u32, &str)> = faults
        .lines()
        .filter_map(|line| {
            let (number, row) = line.strip_prefix("| ")?.split_once(" | ")?;
            Some((number.parse().ok()?, row))
        })
        .collect();
    assert_eq!(rows.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (1..=29).collect::<Vec<_>>());
    for (number, row) in rows {
        assert!(row.contains('`') || row.contains("comes with"), "fault {number}");
    }
}

#[cfg(feature = "planted-bugs")]
#[test]
fn every_planted_bug_is_in_the_map_and_no_other() {
    let map = map();
    let table = map.split_once("## Planted bugs").unwrap().1;
    let listed: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let planted: Vec<&str> = annals::testkit::planted_bugs().iter().map(|(name, _)| *name).collect();
    assert!(planted.len() >= 25);
    assert_eq!(listed, planted);
}
