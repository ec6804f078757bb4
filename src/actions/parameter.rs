//! Signatures of actions: the description of their parameters for binding, documentation and the
//! command line client.

/// Name, parameters and documentation of an action.
#[derive(Debug)]
pub struct Signature {
    /// The action's name without the plugin's.
    pub name: &'static str,
    /// Parameters in positional order; the required ones come first.
    pub parameters: &'static [Parameter],
    /// The model that takes further keywords in Platypush's signature (`**kwargs`). The error for
    /// an unknown keyword contains its name.
    pub keywords_of: Option<&'static str>,
    /// Documentation of the action, in a sentence or two.
    pub doc: &'static str,
    /// Documentation of `output`.
    pub returns: &'static str,
}

/// A parameter of an action.
#[derive(Debug)]
pub struct Parameter {
    /// The parameter's name as a keyword.
    pub name: &'static str,
    /// The values that the parameter accepts.
    pub kind: Kind,
    /// Whether a request must have a value for it.
    pub required: bool,
    /// Documentation of the parameter.
    pub doc: &'static str,
}

/// The values that a parameter accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text; an integer counts as its decimal digits.
    Text,
    /// Text of at most `max_username_length` bytes.
    Name,
    /// Text that is secret, such as a token.
    Secret,
    /// Secret text of at most `password.max_length` bytes.
    Password,
    /// true/false or 0/1.
    Flag,
    /// A whole number from 1 on, or text of its digits.
    Number,
    /// A point in time: seconds since the epoch or ISO 8601.
    Time,
}

// Documentation of parameters of several actions.

pub(super) const USERNAME: &str = "Name of the user, compared byte for byte.";
pub(super) const PASSWORD: &str = "Password of the user.";
pub(super) const EXECUTING_USER: &str = "Name of the user who makes the request.";
pub(super) const EXECUTING_USER_PASSWORD: &str = "Password of the executing user.";
pub(super) const EXECUTING_SESSION: &str =
    "Session token of any user, instead of executing_user and its password.";
pub(super) const CODE: &str =
    "One-time code; needed for users with a second factor, ignored for others.";
pub(super) const SESSION_TOKEN: &str = "The session token, as create_session returned it.";
