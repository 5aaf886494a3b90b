//! Compose reads the files for containers.

use crate::programs::{find_program, run_program};
use crate::support::project;
use std::fs;
use std::path::Path;

#[test]
#[ignore = "needs docker-compose: `scripts/test contrib`"]
fn compose_understands_its_files() {
    let Some(compose) = find_program("docker-compose") else {
        return;
    };

    let folder = tempfile::tempdir().unwrap();
    copy_folder(&project().join("contrib"), folder.path());
    let example = folder.path().join("callscope.env.example");
    fs::copy(example, folder.path().join("callscope.env")).unwrap();
    for file in ["compose.yml", "try/compose.yml"] {
        let path = folder.path().join(file).display().to_string();
        let said = run_program(&compose, &["-f", &path, "config"]);
        assert!(said.contains("read_only: true"), "{file}: {said}");
        assert!(said.contains("no-new-privileges:true"), "{file}: {said}");
        assert!(!said.contains("WARN"), "{file}: {said}");

        // What stands in the place of a file that is not there would be an empty folder.
        let shown = fs::read_to_string(&path).unwrap();
        let mounted = shown.lines().filter_map(|line| {
            let source = line.trim().strip_prefix("- ./")?;
            source.split(':').next()
        });
        for source in mounted {
            let beside = Path::new(&path).with_file_name(source);
            assert!(beside.exists(), "{file}: {source}");
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, place) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy_folder(&path, &place);
        } else {
            fs::copy(path, place).unwrap();
        }
    }
}
