// The provider that this run is for, named by the variable PROVIDER.

use std::path::Path;
use std::sync::OnceLock;

use crate::feed::Subject;

pub(crate) fn get() -> &'static Subject {
    static SUBJECT: OnceLock<Subject> = OnceLock::new();
    SUBJECT.get_or_init(|| {
        let name = std::env::var("PROVIDER").expect("PROVIDER must name a registered provider");
        let registration = providers::find(&name).expect("PROVIDER must name a registered provider");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/providers/src");
        let setup = folder.join(name.replace('-', "_")).join("fixtures/provider.json");
        Subject::new(registration, &std::fs::read(setup).unwrap()).unwrap()
    })
}
