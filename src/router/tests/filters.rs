//! The table of docs/filters.md, line by line: what each REQ gets.

use serde_json::value::RawValue;

use super::*;

const TABLE: &str = include_str!("../../../docs/filters.md");

/// The rows: a REQ, its placeholders filled in, and what it gets.
fn rows() -> Vec<(String, String)> {
    TABLE
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split_once('|').unwrap())
        .map(|(sent, gets)| [sent, gets].map(|cell| filled(cell.trim().trim_matches('`'))))
        .map(|[sent, gets]| (sent, gets))
        .collect()
}

fn filled(text: &str) -> String {
    let deep = || "[".repeat(100_000) + &"]".repeat(100_000);
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, (placeholder, after))) =
        rest.split_once('<').and_then(|(before, rest)| Some((before, rest.split_once('>')?)))
    {
        out.push_str(before);
        let many = placeholder.split_once(' ').map(|(count, of)| (count.parse().unwrap(), of));
        out.push_str(&match (placeholder, many) {
            ("hex", _) => "5d".repeat(32),
            ("HEX", _) => "5D".repeat(32),
            ("deep", _) => deep(),
            (_, Some((count, "hex"))) => "d".repeat(count),
            (_, Some((count, "letters"))) => "x".repeat(count),
            (_, Some((count, "filters"))) => vec!["{}"; count].join(","),
            _ => panic!("<{placeholder}> stands for nothing"),
        });
        rest = after;
    }
    out + rest
}

/// What a message gets, in the table's words.
fn got(text: &str) -> String {
    let mut world = World::new(1);
    let message = ClientMessage::parse(text, Limits::default().max_filters);
    world.says(CLIENT, message);
    let asked = world.got(0).iter().any(|message| message[0] == "REQ");
    let heard = world.heard();
    match &heard[..] {
        [] if asked => "served".to_owned(),
        [answer] if !asked => {
            let answer = answer.as_array().unwrap();
            let verb = answer[0].as_str().unwrap();
            if verb != "NOTICE" {
                let sent: Vec<&RawValue> = serde_json::from_str(text).unwrap();
                assert_eq!(answer[1].to_string(), sent[1].get(), "{text}");
            }
            match answer.last() {
                Some(why) if verb != "EOSE" => format!("{verb} {why}"),
                _ => verb.to_owned(),
            }
        }
        more => panic!("{text}: asked {asked}, {more:?}"),
    }
}

#[test]
fn each_gets_what_the_table_says() {
    let rows = rows();
    assert!(rows.len() > 90, "{}", rows.len());
    let shown = |text: &str| text.chars().take(120).collect::<String>();
    let wrong: Vec<String> = rows
        .iter()
        .filter(|(sent, gets)| got(sent) != *gets)
        .map(|(sent, gets)| format!("{}\n  gets {}\n  not {gets}", shown(sent), got(sent)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
