//! The Converse surface, for boto3 and other clients of AWS. The path says what is asked of whom.

use http::Method;
use providers::Task;

use super::{Access, Answers, QueryRoute, Surface};
use crate::dialect::Converse;
use crate::shape::Shape;

pub(super) static CONVERSE: Surface =
    Surface { dialect: |_| &Converse, shape: Shape::Converse, key_headers: &[], key_parameter: None };

const fn turn(path: &'static str, stream: bool) -> QueryRoute {
    let answers = Answers::Converse { stream };
    QueryRoute { method: Method::POST, path, task: Some(Task::Chat), access: Access::Query, answers }
}

pub(super) const ROUTES: &[QueryRoute] = &[
    turn("/ai-gateway/model/{name}/converse", false),
    turn("/ai-gateway/model/{name}/converse-stream", true),
    turn("/model/{name}/converse", false),
    turn("/model/{name}/converse-stream", true),
];
