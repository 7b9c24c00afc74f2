//! Words on the command line of an example.

#![allow(dead_code, reason = "each example asks for a part of it")]

use std::{process, str::FromStr};

/// The words after an example's name.
pub struct Arguments {
    help: String,
    words: Vec<String>,
}

impl Arguments {
    /// Reads them. What an example's file says at its top is its help: `--help` prints it and ends, and an option that
    /// it does not name is refused.
    pub fn read(source: &str) -> Self {
        let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
        let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).filter(|line| !line.starts_with("```"));
        let help = lines.collect::<Vec<_>>().join("\n");
        let arguments = Self { help, words: std::env::args().skip(1).collect() };
        if arguments.words.iter().any(|word| word == "--help" || word == "-h") {
            println!("{}", arguments.help);
            process::exit(0);
        }
        let named =
            |word: &str| arguments.help.split(|c: char| c != '-' && !c.is_alphanumeric()).any(|name| name == word);
        if let Some(word) = arguments.words.iter().find(|word| word.starts_with('-') && !named(word)) {
            refuse(&format!("`{word}` is no option of this example; --help names those it has"));
        }
        arguments
    }

    /// The value behind an option, such as `--data`.
    pub fn value(&self, option: &str) -> Option<String> {
        let at = self.words.iter().position(|word| word == option)?;
        let value = self.words.get(at + 1).filter(|word| !word.starts_with('-'));
        Some(value.unwrap_or_else(|| refuse(&format!("`{option}` takes a value"))).clone())
    }

    /// The number behind an option, or what is usual.
    pub fn number<N: FromStr>(&self, option: &str, usual: N) -> N {
        self.value(option).map_or(usual, |text| number(option, &text))
    }

    /// The word at a place, for examples whose words are no options.
    pub fn word(&self, place: usize) -> Option<&str> {
        self.words.get(place).map(String::as_str)
    }
}

/// Reads a number.
pub fn number<N: FromStr>(name: &str, text: &str) -> N {
    text.parse().unwrap_or_else(|_| refuse(&format!("`{name}` takes a whole number; `{text}` is none")))
}

fn refuse(words: &str) -> ! {
    eprintln!("{words}");
    process::exit(2)
}
