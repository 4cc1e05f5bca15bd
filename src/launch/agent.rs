//! The seccomp agent: gets the listener of a filter with SCMP_ACT_NOTIFY (config-linux.md, The Container Process State).
#![forbid(unsafe_code)]

use super::{Error, hooks};
use crate::plan::Agent;
use crate::spec::VERSION_MAX;
use crate::sys::socket;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How long an agent may take to accept the connection, and to make room for what is sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends the container process state of process `pid` with its filter's listener, over a connection of its own. `state` is
/// the container's.
///
/// # Errors
/// [`Error::Agent`]: the program must not run then.
pub fn send(agent: &Agent, state: &hooks::State, pid: i32, listener: &OwnedFd) -> Result<(), Error> {
    let failed = |what: &'static str| {
        let path = agent.path.to_string();
        move |errno| Error::Agent { what, path, errno }
    };
    let connection = socket::connect_stream(&agent.path, PATIENCE).map_err(failed("connect with"))?;
    let text = message(agent, state, pid).to_string();
    socket::send_stream(connection.as_fd(), text.as_bytes(), listener.as_fd()).map_err(failed("send to"))
}

fn message(agent: &Agent, state: &hooks::State, pid: i32) -> serde_json::Value {
    let mut message = serde_json::json!({
        "ociVersion": VERSION_MAX,
        "fds": ["seccompFd"],
        "pid": pid,
        "state": state.seen_by_agent(pid),
    });
    if let Some(metadata) = &agent.metadata {
        message["metadata"] = metadata.as_str().into();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state(fields: serde_json::Value) -> hooks::State {
        hooks::State::new(fields.as_object().cloned().expect("an object"))
    }

    #[test]
    fn the_message_is_the_specifications() {
        let agent = Agent { path: crate::plan::text::Text::new("/run/agent"), metadata: Some("colour=blue".into()) };
        let container = json!({ "ociVersion": "1.3.0", "id": "c1", "bundle": "/b", "annotations": { "a": "b" } });
        let state = json!({
            "ociVersion": "1.3.0", "id": "c1", "status": "created", "pid": 42, "bundle": "/b", "annotations": { "a": "b" }
        });
        let expected = json!({
            "ociVersion": "1.3.0", "fds": ["seccompFd"], "pid": 42, "metadata": "colour=blue", "state": state
        });
        assert_eq!(message(&agent, &self::state(container), 42), expected);
        // Of a process that joins a running container, the container's own process is another one.
        let joined = self::state(json!({ "id": "c1", "status": "running", "pid": 7 }));
        let told = message(&Agent { metadata: None, ..agent }, &joined, 42);
        assert_eq!(
            (&told["pid"], &told["state"]["pid"], &told["state"]["status"]),
            (&json!(42), &json!(7), &json!("running"))
        );
        assert_eq!(told.get("metadata"), None);
    }

    #[test]
    fn an_agent_that_is_not_there_is_an_error() {
        let agent = Agent { path: crate::plan::text::Text::new("/nonexistent/agent"), metadata: None };
        let (listener, _) = socket::pair().expect("a pair");
        let error = send(&agent, &state(json!({})), 1, &listener).unwrap_err().to_string();
        assert!(error.contains("failed to connect with seccomp agent"), "{error}");
    }
}
