//! What the stub and the load generator must agree on: the clock, the text of an answer, the stamp in a
//! streamed chunk, and how an HTTP/1.1 body is framed.

pub mod args;
pub mod clock;
pub mod http;
pub mod text;
