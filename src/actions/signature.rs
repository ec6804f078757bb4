//! Signatures of actions: the one description of their parameters, for
//! binding, documentation and the command line client.

/// What an action is called and takes.
#[derive(Debug)]
pub struct Signature {
    /// The action without the plugin's name.
    pub name: &'static str,
    /// Parameters in positional order; the required ones come first.
    pub parameters: &'static [Parameter],
    /// The model that takes further keywords in Platypush's signature
    /// (`**kwargs`): its name stands in the error for each of them.
    pub keywords_of: Option<&'static str>,
    /// What the action does, in a sentence or two.
    pub doc: &'static str,
    /// What `output` holds.
    pub returns: &'static str,
}

/// A parameter of an action.
#[derive(Debug)]
pub struct Parameter {
    /// Its name as a keyword.
    pub name: &'static str,
    /// What may stand there.
    pub kind: Kind,
    /// Whether it must be given.
    pub required: bool,
    /// What it means.
    pub doc: &'static str,
}

/// What may stand in a parameter.
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

impl Parameter {
    pub(super) const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self {
            name,
            kind,
            required: true,
            doc,
        }
    }

    pub(super) const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self {
            name,
            kind,
            required: false,
            doc,
        }
    }
}

/// The user a request is about.
pub(super) const USERNAME: Parameter =
    Parameter::required("username", Kind::Name, "Name of the user, byte for byte.");
pub(super) const PASSWORD: Parameter =
    Parameter::required("password", Kind::Password, "Password of the user.");
/// Parameters of actions that only a user may ask for.
pub(super) const EXECUTING_USER: Parameter = Parameter::optional(
    "executing_user",
    Kind::Name,
    "Name of the user who asks for it.",
);
pub(super) const EXECUTING_USER_PASSWORD: Parameter = Parameter::optional(
    "executing_user_password",
    Kind::Password,
    "Password of the executing user.",
);
pub(super) const EXECUTING_SESSION: Parameter = Parameter::optional(
    "session_token",
    Kind::Secret,
    "Session token of any user, instead of executing_user and its password.",
);
pub(super) const CODE: Parameter = Parameter::optional(
    "code",
    Kind::Secret,
    "One-time code; needed for users with a second factor, ignored for others.",
);
pub(super) const SESSION_TOKEN: Parameter = Parameter::required(
    "session_token",
    Kind::Secret,
    "The session token, as create_session returned it.",
);
