//! Signatures of actions: the one description of their parameters, for binding, documentation and
//! the command line client.

/// Name, parameters and documentation of an action.
#[derive(Debug)]
pub struct Signature {
    /// The action's name without the plugin's.
    pub name: &'static str,
    /// Parameters in positional order; the required ones come first.
    pub parameters: &'static [Parameter],
    /// The model that takes further keywords in Platypush's signature (`**kwargs`). Its name stands
    /// in the error for an unknown keyword.
    pub keywords_of: Option<&'static str>,
    /// What the action does, in a sentence or two.
    pub doc: &'static str,
    /// What `output` holds.
    pub returns: &'static str,
}

/// A parameter of an action.
#[derive(Debug)]
pub struct Parameter {
    /// The parameter's name as a keyword.
    pub name: &'static str,
    /// Which values it accepts.
    pub kind: Kind,
    /// Whether a request must have it.
    pub required: bool,
    /// What it means.
    pub doc: &'static str,
}

/// Which values a parameter accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text; an integer counts as its decimal digits.
    Text,
    /// The same, of at most `max_username_length` bytes.
    Name,
    /// Text that is secret, such as a token.
    Secret,
    /// Secret text of at most `password.max_length` bytes.
    Password,
    /// true/false or 0/1.
    Flag,
    /// A whole number from 1 on; text of its digits as well.
    Number,
    /// A moment: seconds since the epoch or ISO 8601.
    Time,
}

// Documentation of parameters that several actions have.

pub(super) const USERNAME: &str = "Name of the user, byte for byte.";
pub(super) const PASSWORD: &str = "Password of the user.";
pub(super) const EXECUTING_USER: &str = "Name of the user who asks for it.";
pub(super) const EXECUTING_USER_PASSWORD: &str = "Password of the executing user.";
pub(super) const EXECUTING_SESSION: &str =
    "Session token of any user, instead of executing_user and its password.";
pub(super) const CODE: &str =
    "One-time code; needed for users with a second factor, ignored for others.";
pub(super) const SESSION_TOKEN: &str = "The session token, as create_session returned it.";
