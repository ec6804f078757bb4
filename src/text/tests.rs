use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

#[test]
fn text_that_platypush_evaluates_or_decodes_gets_a_space() {
    for (text, neutral) in [
        ("${a}", "$ {a}"),
        ("$${a}", "$$ {a}"),
        ("${${a}}", "$ {$ {a}}"),
        ("${{a}}", "$ {{a}}"),
        ("é${", "é$ {"),
        ("\"\\u0024{a}\"", "\"\\ u0024{a}\""),
        ("\\\\u0024", "\\\\ u0024"),
        ("$\\u007b", "$\\ u007b"),
        ("\\u005cu0024", "\\ u005cu0024"),
        ("\\uFf04", "\\ uFf04"),
    ] {
        assert_eq!(neutralize(text), neutral, "{text}");
    }
    for text in [
        "",
        "$",
        "{",
        "$ {",
        "{$",
        "$a{",
        "DOMAIN\\user",
        "\\u",
        "\\u12",
        "\\U0024",
        "5$",
    ] {
        assert!(matches!(neutralize(text), Cow::Borrowed(_)), "{text}");
    }
}

#[test]
fn unusable_names_are_refused_with_the_code_point() {
    for (name, text) in [
        (
            "a${b",
            "U+0024 before U+007B (a dollar sign and a brace), which Platypush would evaluate",
        ),
        (
            "a\\u0024b",
            "U+005C before uXXXX (an escape of JSON), which Platypush would decode",
        ),
        ("a\u{202e}b", "U+202E, a control or invisible character"),
        ("a\nb", "U+000A, a control or invisible character"),
        ("\u{e0041}", "U+E0041, a control or invisible character"),
        ("\u{3164}", "U+3164, a control or invisible character"),
        ("a\u{1ffff}", "U+1FFFF, a control or invisible character"),
    ] {
        let refused = check_name(name).unwrap_err();
        assert_eq!(refused.to_string(), text, "{name:?}");
    }
    for name in [
        "alice",
        "Zoë 🦎",
        "👩\u{200d}🚀",
        "می\u{200c}خواهم",
        "❤\u{fe0f}",
        "葛\u{e0100}城",
        "a b",
        "$a",
        "{a}",
        "a$",
    ] {
        assert_eq!(check_name(name), Ok(()), "{name:?}");
    }
}

#[test]
fn a_name_of_modifying_characters_only_is_blank() {
    for name in [
        "",
        " ",
        "\u{3000}",
        "\u{fe0f}",
        "\u{200d}",
        " \u{e0100}\u{34f}",
    ] {
        assert!(is_blank(name), "{name:?}");
    }
    for name in ["a", "❤\u{fe0f}", " .", "\u{200d}x"] {
        assert!(!is_blank(name), "{name:?}");
    }
}

#[test]
fn foreign_names_become_usable_and_recognizable_names() {
    for (name, usable) in [
        ("alice", "alice"),
        ("${x}", "$ {x}"),
        ("bob\u{200b}", "bob[U+200B]"),
        ("$\u{202e}{x}", "$[U+202E]{x}"),
        ("\\\u{0}u0024", "\\[U+0000]u0024"),
    ] {
        assert_eq!(usable_name(name), usable, "{name:?}");
    }
}

#[test]
fn control_characters_are_escaped_for_terminals() {
    let text = "a\u{1b}[31m\n\u{9b}2J\u{7f}\u{202e}\u{2028}\u{feff}\u{200b}é\u{200d}'\"\\";
    assert_eq!(
        printable(text),
        "a\\u{1b}[31m\\n\\u{9b}2J\\u{7f}\\u{202e}\\u{2028}\\u{feff}\\u{200b}é\u{200d}'\"\\"
    );
    let json = serde_json::to_string_pretty(&[text, "\u{e0041}"]).unwrap();
    let shown = printable_json(&json);
    assert!(
        shown.chars().all(|c| c == '\n' || !is_invisible(c)),
        "{shown}"
    );
    assert!(shown.contains("\\udb40\\udc41"), "{shown}");
    assert_eq!(
        serde_json::from_str::<Vec<String>>(&shown).unwrap(),
        [text, "\u{e0041}"]
    );
}

/// Regression test: padded names forged rows of `admin users` on a terminal that breaks lines.
#[test]
fn padding_with_white_space_is_escaped_in_a_cell() {
    for (name, shown) in [
        ("Anna Maria", "Anna Maria"),
        ("a   b", "a \\u{20}\\u{20}b"),
        (" a ", "\\u{20}a "),
        ("a \u{3000}\u{a0}b", "a \\u{3000}\\u{a0}b"),
        ("a\n\u{3164}", "a\\n\\u{3164}"),
    ] {
        assert_eq!(printable_cell(name), shown, "{name:?}");
    }
}

/// For each character that the installed Python knows, the categories agree with Python's, except
/// for further blank characters.
#[test]
fn the_categories_are_those_of_python() {
    let script = "
import sys, unicodedata
invisible = set(map(int, sys.stdin.read().split()))
blank = {0x115f, 0x1160, 0x17b4, 0x17b5, 0x2800, 0x3164, 0xffa0, 0x13441, 0x13442, 0x16fe4, 0x1d159}
assert blank < invisible
for point in range(0x110000):
    category = unicodedata.category(chr(point))
    if category not in ('Cn', 'Cs') and point not in (0x200c, 0x200d) and point not in blank:
        assert (category in ('Cc', 'Cf', 'Zl', 'Zp')) == (point in invisible), hex(point)
";
    let mut python = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    for character in '\0'..=char::MAX {
        if is_invisible(character) {
            writeln!(stdin, "{}", u32::from(character)).unwrap();
        }
    }
    drop(stdin);
    assert!(python.wait().unwrap().success());
}

/// Generates text of fragments that matter here, and arbitrary text.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "$", "{", "}", "\\", "u", "0024", "007B", "005c", "u0024", "\"", " ", "${", "\u{202e}",
        "\u{0}", "x", "é", "\u{200b}",
    ]);
    prop_oneof![
        prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat()),
        any::<String>(),
    ]
}

/// Returns all texts that Platypush may make of a text by repeated JSON decoding.
fn decoded(text: &str) -> Vec<String> {
    let mut all = vec![text.to_owned()];
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(text.trim()) {
        let mut values = vec![value];
        while let Some(value) = values.pop() {
            match value {
                serde_json::Value::String(text) => all.extend(decoded(&text)),
                serde_json::Value::Array(more) => values.extend(more),
                serde_json::Value::Object(more) => {
                    for (key, value) in more {
                        all.extend(decoded(&key));
                        values.push(value);
                    }
                }
                _ => {}
            }
        }
    }
    all
}

proptest! {
    #[test]
    fn no_neutral_text_decodes_to_text_that_platypush_evaluates(text in hostile(), levels in 0_u8..4) {
        let quoted = (0..levels).fold(text.clone(), |text, _| {
            let json = serde_json::to_string(&text).unwrap();
            json.replace('$', "\\u0024").replace('{', "\\u007b")
        });
        for text in [text, quoted] {
            let neutral = neutralize(&text);
            for decoded in decoded(&neutral) {
                prop_assert!(!decoded.contains("${"), "{text:?}: {decoded:?}");
            }
            prop_assert_eq!(neutralize(&neutral), &*neutral);
            prop_assert_eq!(neutral.replace(' ', ""), text.replace(' ', ""));
        }
    }

    #[test]
    fn every_foreign_name_becomes_an_accepted_name(name in hostile()) {
        let usable = usable_name(&name);
        prop_assert_eq!(check_name(&usable), Ok(()));
        prop_assert_eq!(neutralize(&usable), &*usable);
        if check_name(&name).is_ok() {
            prop_assert_eq!(&*usable, &*name);
        }
    }

    #[test]
    fn the_encoder_neutralizes_each_text(key in hostile(), text in hostile()) {
        let value = serde_json::json!({ key.clone(): [text.clone()] });
        let bytes = crate::wire::json::encode(&value).unwrap();
        let neutral = serde_json::json!({ &*neutralize(&key): [&*neutralize(&text)] });
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&bytes).unwrap(), neutral);
    }
}
