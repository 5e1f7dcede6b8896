//! The live viewer: what becomes of the bytes, on a terminal, while it happens.
//!
//! ```text
//!             feed.rs ── Arc<Report> ──▶ ┐
//!  (thread: polls the tracer,            │
//!   watches what is traced)              ▼
//!  keys, mouse ──▶ keys/ ── Action ──▶ state/ ──▶ rows.rs, layout.rs ──▶ view/ ──▶ terminal.rs
//!  pane.rs (thread: CMD's pty) ────────▶ ┘ Effect ──▶ event_loop.rs ──▶ export.rs, pane.rs, feed.rs
//! ```
//!
//! `event_loop.rs` waits for all of this, gives it to [`state::State::apply`] as an action, does what the effect says, and
//! has the state drawn if it changed, 30 times a second at most. `state/` has no clock and no terminal; `view/` is a pure
//! function of the state and the size and changes nothing.

pub(crate) mod keys;
pub(crate) mod layout;
pub(crate) mod rows;
pub(crate) mod state;
pub(crate) mod theme;
pub(crate) mod view;
