//! Selectors, what they hold for, and what is said of bad ones.

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

fn check(selector: &str, labels: &[(&'static str, &'static str)], expected: bool) {
    let labels = labels.iter().map(|(key, value)| (Cow::Borrowed(*key), Cow::Borrowed(*value))).collect();
    let end = End { labels, namespace: Some("shop".into()), ..End::default() };
    let mut parsed = parse(selector).unwrap_or_else(|error| panic!("{selector}: {error}"));
    assert_eq!(parsed.matches(&end), expected, "{selector}");
    let mut names = Vec::new();
    parsed.assign(&mut names);
    assert_eq!(parsed.holds(&View::new(&end, &names)), expected, "{selector} with slots");
}

#[test]
fn operators() {
    let labels = &[("app", "web"), ("fw-zone", "dmz"), ("firewall.tigera.io/zone", "z1"), ("empty", "")];
    for (selector, expected) in [
        ("", true),
        ("all()", true),
        ("!all()", false),
        ("global()", false),
        ("app == 'web'", true),
        ("app==\"web\"", true),
        ("app == 'Web'", false),
        ("app != 'web'", false),
        ("app != 'db'", true),
        ("missing == ''", false),
        ("missing != 'x'", true),
        ("empty == ''", true),
        ("has(app)", true),
        ("has( firewall.tigera.io/zone )", true),
        ("!has(missing)", true),
        ("!!has(missing)", false),
        ("app in {'db', 'web'}", true),
        ("app in {'db',}", false),
        ("app in {}", false),
        ("missing in {'a'}", false),
        ("app not in {'db'}", true),
        ("app not in {'db', 'web'}", false),
        ("missing not in {'a'}", true),
        ("app contains 'e'", true),
        ("missing contains ''", false),
        ("app starts with 'we'", true),
        ("app starts  with 'eb'", false),
        ("app ends with 'eb'", true),
        ("fw-zone == 'dmz' || has(nothing)", true),
        ("has(nothing) || has(app) && has(nothing)", false),
        ("(has(nothing) || has(app)) && has(fw-zone)", true),
        ("!(has(nothing) || has(app))", false),
        ("projectcalico.org/namespace == 'shop'", true),
        ("firewall.tigera.io/zone\n== 'z1'", true),
    ] {
        check(selector, labels, expected);
    }
    // Words of the language are labels too.
    check("in in {'x'} && all == 'y' && has != 'z'", &[("in", "x"), ("all", "y")], true);
}

#[test]
fn mistakes_have_a_place_and_a_remedy() {
    for (selector, column, message) in [
        ("app = 'x'", 5, "write == to compare"),
        ("app == web", 8, "put the value in quotes: 'web'"),
        ("app == 'web", 8, "this quote is never closed"),
        ("app", 4, "an operator must follow the label \"app\""),
        ("app == 'a' and b == 'c'", 12, "write && for \"and\""),
        ("app == 'a' & b == 'c'", 12, "write && or || between two parts"),
        ("not app == 'a'", 1, "write ! for"),
        ("app not 'a'", 9, "write \"not in\""),
        ("(app == 'a'", 1, "this ( is never closed"),
        ("app == 'a')", 11, "this ) closes nothing"),
        ("app in ('a')", 8, "expected a set in braces"),
        ("app in {'a' 'b'}", 13, "expected , or } in the set"),
        ("app notin {'a'}", 5, "write \"not in\" in two words"),
        ("'app' == 'a'", 1, "a label name comes first"),
        ("app == 'ä' && ", 15, "the selector ends here"),
        ("any()", 1, "there is no any()"),
        ("has('app')", 5, "a label name must follow has("),
        ("app starts 'x'", 12, "write \"starts with\""),
    ] {
        let error = parse(selector).expect_err(selector);
        assert!(error.message.starts_with(message), "{selector}: {error}");
        assert_eq!(error.column(), column, "{selector}: {error}");
    }
    let deep = format!("{}all(){}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(parse(&deep).unwrap_err().message.starts_with("more than 64 parentheses"));
}

fn any_selector() -> impl Strategy<Value = Selector> {
    let label = || "[a-zA-Z0-9_./-]{1,12}".prop_map(|name| Label::new(&name));
    let text = || prop_oneof!["[ -&(-~]{0,8}", "[ !#-~ä]{0,8}"].prop_map(String::into_boxed_str);
    let comparison = prop_oneof![
        Just(Comparison::Equal),
        Just(Comparison::NotEqual),
        Just(Comparison::Contains),
        Just(Comparison::StartsWith),
        Just(Comparison::EndsWith),
    ];
    let leaf = prop_oneof![
        Just(Selector::All),
        Just(Selector::Global),
        label().prop_map(Selector::Has),
        (label(), comparison, text()).prop_map(|(label, comparison, text)| Selector::Compare(label, comparison, text)),
        (label(), prop::collection::vec(text(), 0..4)).prop_map(|(label, texts)| Selector::In(label, texts)),
        (label(), prop::collection::vec(text(), 0..4)).prop_map(|(label, texts)| Selector::NotIn(label, texts)),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            // Two negations in a row are none, so they are not printed as two.
            inner.clone().prop_map(|part| match part {
                Selector::Not(_) => part,
                other => Selector::Not(Box::new(other)),
            }),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Selector::And),
            prop::collection::vec(inner, 2..4).prop_map(Selector::Or),
        ]
    })
}

proptest! {
    #[test]
    fn printing_then_parsing_gives_the_same(selector in any_selector()) {
        let text = selector.to_string();
        prop_assert_eq!(parse(&text), Ok(selector), "{}", text);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a-z'\"!=&|(){}, ä]{0,40}") {
        let _ = parse(&text);
    }
}
