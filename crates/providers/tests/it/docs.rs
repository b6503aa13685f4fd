//! The table of providers for the docs, made from `ALL` so that it cannot be out of date.

use tollgate_providers::{ALL, Field, Task};

#[test]
fn table() {
    let mut table = String::from(
        "| provider | config block | chat | completions | embeddings | fields | extension fields | server-wide settings |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for provider in ALL {
        let serves = |task: Task| if provider.tasks.contains(&task) { "yes" } else { "–" };
        let list = |extension: bool| {
            let fields: Vec<String> =
                provider.fields.iter().filter(|f| f.extension == extension).map(name).collect();
            if fields.is_empty() { "–".to_owned() } else { fields.join(", ") }
        };
        let settings: Vec<String> =
            provider.settings.iter().map(|s| format!("`providers.{}.{}`", provider.name, s.key)).collect();
        let settings = if settings.is_empty() { "–".to_owned() } else { settings.join(", ") };
        let [chat, completions, embeddings] = Task::ALL.map(serves);
        table += &format!(
            "| {} | `{}` | {chat} | {completions} | {embeddings} | {} | {} | {settings} |\n",
            provider.name,
            provider.config_field,
            list(false),
            list(true),
        );
    }
    insta::assert_snapshot!(table);
}

fn name(field: &Field) -> String {
    match field.kind {
        tollgate_providers::fields::Kind::Text => format!("`{}`", field.path),
        tollgate_providers::fields::Kind::Secret => format!("`{}` (secret)", field.path),
    }
}
