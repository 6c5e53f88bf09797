//! `aw-web`: answers in a browser which device had which address, where and when, from the history that an output stores, and what
//! the rings have now. It only reads. It trusts neither its clients nor the content of the history.
#![forbid(unsafe_code)]

mod api;
mod app;
mod asker;
mod attempts;
mod calendar;
mod clients;
mod commands;
mod display;
mod download;
mod events;
mod fault_file;
mod guard;
mod happening;
mod health;
mod known_macs;
mod listener;
mod listing;
mod live;
mod local_path;
mod log_gate;
mod network;
mod network_label;
mod options;
mod pages;
mod parameters;
mod problem;
mod records;
mod routes;
mod rows;
mod search;
mod secrets;
mod sending;
mod server;
mod service;
mod sessions;
mod timed_stream;
mod timeline;
mod users;
mod zones;

use std::process::ExitCode;

use crate::options::{Command, Options};

const NAME: &str = "aw-web";

fn main() -> ExitCode {
    let options: Options = aw_service::parse(NAME);
    match &options.command {
        Some(Command::Login) => commands::login(&options),
        Some(Command::Passwd { name, role, remove }) => {
            commands::passwd(&options, name, *role, *remove)
        }
        None if options.health => commands::health(&options),
        None if options.check => commands::check(&options),
        None => service::run(options),
    }
}
