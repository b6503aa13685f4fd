//! Files and folders of the workspace.

use serde_json::{Value, json};

use super::endpoints::{access_entry, permission_levels, permissions};
use super::operation::{
    Answer, Area, Operation, Param, boolean, integer, list, object, one_of, optional, required, schema, text,
    timestamp,
};

pub(super) const AREA: Area = Area {
    tag: "workspace",
    description: "Files and folders, such as those of `databricks bundle deploy`. Everybody has `/Users/<name>` and, \
                  with all others, `/Shared`; members of admins have everything; folders can be shared. `/Workspace` before a path means nothing.",
    error: "Error",
    operations: OPERATIONS,
    schemas,
};

const PATH: Param = required("path", "an absolute path");

const OPERATIONS: &[Operation] = &[
    Operation::new("GET", "/api/2.0/workspace/get-status", "getWorkspaceStatus", "What is at a path")
        .query(&[PATH, optional("return_export_info", "`true` adds repos_export_format to a notebook")])
        .gives("WorkspaceObject"),
    Operation::new("GET", "/api/2.0/workspace/list", "listWorkspace", "What is in a folder")
        .says("Of a file it is a list of itself.")
        .query(&[PATH])
        .gives("WorkspaceList"),
    Operation::new(
        "POST",
        "/api/2.0/workspace/mkdirs",
        "makeWorkspaceFolders",
        "Make a folder and those around it",
    )
    .takes("WorkspacePath"),
    Operation::new("POST", "/api/2.0/workspace/delete", "deleteWorkspaceObject", "Delete a file or a folder")
        .takes("WorkspaceDelete"),
    Operation::new(
        "POST",
        "/api/2.0/workspace/import",
        "importWorkspaceObject",
        "Write a file or a notebook",
    )
    .takes("WorkspaceImport")
    .fails(&[409]),
    Operation::new(
        "POST",
        "/api/2.0/workspace-files/import-file/{path}",
        "importWorkspaceFile",
        "Write a file, from the body as it is",
    )
    .says("At most 10 MiB. The slashes of the path may be as they are, or `%2F`.")
    .query(&[optional("overwrite", "`true` replaces what is there; otherwise that is 409")])
    .takes_file()
    .fails(&[409]),
    Operation::new("GET", "/api/2.0/workspace/export", "exportWorkspaceObject", "Read a file or a notebook")
        .query(&[
            PATH,
            optional("format", "AUTO, SOURCE or RAW, which are the same"),
            optional("direct_download", "`true` answers with the content as it is"),
        ])
        .answers(200, Answer::JsonOrFile("WorkspaceContent")),
    Operation::new("GET", "/api/2.0/workspace-files/{path}", "readWorkspaceFile", "Read a file as it is")
        .says("The slashes of the path may be as they are, or `%2F`.")
        .answers(200, Answer::File)
        .fails(&[400]),
    Operation::new("GET", "/api/2.0/permissions/directories/{id}", "getFolderPermissions", "Who may do what with a folder")
        .gives("FolderPermissions"),
    Operation::new(
        "PUT",
        "/api/2.0/permissions/directories/{id}",
        "putFolderPermissions",
        "Replace what was given on a folder",
    )
    .says("It holds for all that is in the folder. CAN_RUN is as CAN_READ; CAN_EDIT overwrites files, CAN_MANAGE makes and deletes them.")
    .takes("FolderAccessControl")
    .gives("FolderPermissions"),
    Operation::new(
        "PATCH",
        "/api/2.0/permissions/directories/{id}",
        "patchFolderPermissions",
        "Add to what was given on a folder",
    )
    .takes("FolderAccessControl")
    .gives("FolderPermissions"),
    Operation::new(
        "GET",
        "/api/2.0/permissions/directories/{id}/permissionLevels",
        "getFolderPermissionLevels",
        "The levels there are",
    )
    .gives("FolderPermissionLevels"),
];

fn level() -> Value {
    one_of(&["CAN_READ", "CAN_RUN", "CAN_EDIT", "CAN_MANAGE"], "each includes those before it")
}

fn schemas() -> Vec<(&'static str, Value)> {
    let path = || text("absolute; at most 2048 bytes, each part at most 256 characters");
    vec![
        ("WorkspacePath", object(&["path"], [("path", path())])),
        (
            "WorkspaceDelete",
            object(&["path"], [("path", path()), ("recursive", boolean("with all that is in a folder"))]),
        ),
        (
            "WorkspaceImport",
            object(
                &["path"],
                [
                    ("path", path()),
                    (
                        "content",
                        json!({"type": "string", "contentEncoding": "base64", "description": "at most 10 MiB"}),
                    ),
                    ("format", one_of(&["AUTO", "SOURCE", "RAW"], "SOURCE, a notebook, when there is none")),
                    ("language", one_of(&["PYTHON", "SQL", "SCALA", "R"], "required with SOURCE")),
                    ("overwrite", boolean("whether to replace what is there")),
                ],
            ),
        ),
        ("WorkspaceObject", workspace_object()),
        ("WorkspaceList", object(&["objects"], [("objects", list(schema("WorkspaceObject")))])),
        (
            "WorkspaceContent",
            object(
                &["content", "file_type"],
                [
                    ("content", json!({"type": "string", "contentEncoding": "base64"})),
                    ("file_type", text("the file's extension")),
                ],
            ),
        ),
        (
            "FolderAccessControl",
            object(&["access_control_list"], [("access_control_list", list(access_entry(level())))]),
        ),
        ("FolderPermissions", permissions("directory", level())),
        ("FolderPermissionLevels", permission_levels(level())),
        ("FileContent", json!({"type": "string", "format": "binary"})),
    ]
}

fn workspace_object() -> Value {
    object(
        &["object_type", "path", "object_id", "resource_id"],
        [
            ("object_type", one_of(&["DIRECTORY", "FILE", "NOTEBOOK"], "")),
            ("path", text("with `/Workspace` before it when that was asked for")),
            ("object_id", integer("a number of at most 53 bits")),
            ("resource_id", text("the same, as a text")),
            ("created_at", timestamp("of a file or notebook: when it was made")),
            ("modified_at", timestamp("of a file or notebook: when it was last written")),
            ("size", integer("of a file or notebook: in bytes")),
            ("language", one_of(&["PYTHON", "SQL", "SCALA", "R"], "of a notebook")),
            ("repos_export_format", json!({"const": "SOURCE"})),
        ],
    )
}
