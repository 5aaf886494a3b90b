//! Checks that no circle of files crosses a folder, and that inside a folder no more than three
//! files make one.

use super::{code_without_tests, files, is_of_tests, paths};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Maximum number of files that may know each other.
const CIRCLE_MAX: usize = 3;

/// For each module the modules that it names.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// The path of a file's module: `src/store/db/connect.rs` is `store::db::connect`.
fn module_path(path: &Path) -> String {
    let inside = path.strip_prefix("src").unwrap().with_extension("");
    let inside = inside
        .to_str()
        .unwrap()
        .replace(std::path::MAIN_SEPARATOR, "::");

    inside.strip_suffix("::mod").unwrap_or(&inside).to_owned()
}

/// The folder that a module is in.
fn folder_of(module: &str) -> &str {
    module.rsplit_once("::").map_or("", |(folder, _)| folder)
}

/// The module out of `modules` that a path from the root of the crate leads to or into.
fn module_of_path<'m>(path: &str, modules: &'m BTreeSet<String>) -> Option<&'m String> {
    let mut path = path;
    loop {
        if let Some(module) = modules.get(path) {
            return Some(module);
        }

        path = path.rsplit_once("::")?.0;
    }
}

/// The modules that the code of a module names.
fn named_modules(own: &str, code: &str, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let parent = folder_of(own);
    let absolute = |folder: &str| {
        if folder.is_empty() {
            "crate::".to_owned()
        } else {
            format!("crate::{folder}::")
        }
    };

    let code = code
        .replace("super::super::", &absolute(folder_of(parent)))
        .replace("super::", &absolute(parent));

    code.split("crate::")
        .skip(1)
        .flat_map(paths)
        .filter_map(|path| module_of_path(&path, modules).cloned())
        .filter(|module| module != own)
        .collect()
}

/// The arrows between all files that are no root of a folder. The root declares the others, so it
/// knows them all.
fn arrows_of_source() -> Arrows {
    let paths: Vec<_> = files(Path::new("src"), "rs")
        .into_iter()
        .filter(|path| !is_of_tests(path))
        .collect();
    let all: BTreeSet<String> = paths.iter().map(|path| module_path(path)).collect();
    let is_root = |module: &String| {
        let inside = format!("{module}::");
        all.iter().any(|other| other.starts_with(&inside))
    };

    let mut arrows = Arrows::new();
    for path in &paths {
        let module = module_path(path);
        if is_root(&module) {
            continue;
        }

        let code = code_without_tests(&std::fs::read_to_string(path).unwrap());
        let mut named = named_modules(&module, &code, &all);
        named.retain(|named| !is_root(named));
        arrows.insert(module, named);
    }

    arrows
}

/// All modules that one leads to, over any number of arrows.
fn reached_from<'a>(start: &'a str, arrows: &'a Arrows) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![start];
    while let Some(module) = next.pop() {
        for named in arrows.get(module).into_iter().flatten() {
            if reached.insert(named.as_str()) {
                next.push(named);
            }
        }
    }

    reached
}

/// The circles that are not allowed, in words.
fn wrong_circles(arrows: &Arrows) -> BTreeSet<String> {
    let reached: BTreeMap<&str, BTreeSet<&str>> = arrows
        .keys()
        .map(|module| (module.as_str(), reached_from(module, arrows)))
        .collect();
    let mut wrong = BTreeSet::new();
    for (module, from) in &reached {
        let circle: BTreeSet<&str> = from
            .iter()
            .copied()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(module)))
            .collect();
        let folders: BTreeSet<&str> = circle.iter().map(|module| folder_of(module)).collect();
        if circle.len() > CIRCLE_MAX || folders.len() > 1 {
            wrong.insert(circle.into_iter().collect::<Vec<_>>().join(", "));
        }
    }

    wrong
}

#[test]
fn no_circle_crosses_a_folder_or_is_large() {
    let arrows = arrows_of_source();
    assert!(arrows.len() > 200, "{}", arrows.len());
    assert!(
        arrows["store::ingest::write"].contains("store::ingest::events"),
        "{arrows:?}"
    );
    let wrong = wrong_circles(&arrows);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_wrong_circle_is_seen() {
    let arrows = |pairs: &[(&str, &str)]| {
        let mut arrows = Arrows::new();
        for (from, to) in pairs {
            let named = arrows.entry((*from).to_owned()).or_default();
            named.insert((*to).to_owned());
        }

        arrows
    };

    let small = [("a::x", "a::y"), ("a::y", "a::z"), ("a::z", "a::x")];
    assert!(wrong_circles(&arrows(&small)).is_empty());
    let large = [
        ("a::x", "a::y"),
        ("a::y", "a::z"),
        ("a::z", "a::w"),
        ("a::w", "a::x"),
    ];
    assert_eq!(
        wrong_circles(&arrows(&large)),
        BTreeSet::from(["a::w, a::x, a::y, a::z".to_owned()])
    );
    let across = [("a::x", "b::y"), ("b::y", "a::x")];
    assert_eq!(wrong_circles(&arrows(&across)).len(), 1);

    let modules = BTreeSet::from(["a::x".to_owned(), "a::b::y".to_owned()]);
    let code = "use super::super::x::Thing;\nfn f() { crate::a::x::g() }";
    assert_eq!(
        named_modules("a::b::y", code, &modules),
        BTreeSet::from(["a::x".to_owned()])
    );
}
