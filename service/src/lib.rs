//! What every long-running program of this system shares: the options `-d`, `-p` and `-u`, the log,
//! the background process, dropping privileges, signals, and the notifications to systemd.
//!
//! A program passes its main function to [`run`]. That function opens what it needs, calls
//! [`Startup::confine`], then [`Startup::ready`], and only then reads untrusted input.

mod access;
mod background;
mod backoff;
mod condition;
mod config_words;
mod error;
mod file;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/bodies/service.rs"]
pub mod fuzzed;
mod helper;
mod line_file;
mod log;
pub mod manual;
mod network_fault;
mod open_files;
mod pid_file;
mod plain_text;
mod privileges;
mod read_file;
mod resolve;
mod sandbox;
mod secret;
mod signals;
mod startup;
mod system_calls;
mod text;
mod time_expression;
mod trial;
mod unit_command;
mod unit_files;
mod users;
mod values;

pub use {
    access::{
        Wanted, denied, drops_clients, explained, ignored_options, join_group, start_remedy, unit,
        unit_forbids_writing, unit_hides_history, unit_of_process, user_name,
    },
    backoff::{Backoff, jittered},
    condition::Condition,
    config_words::{nearest, nearest_within, plain_fault, unknown, unknown_key},
    error::{Error, advice, cause, explain, explain_or, failed},
    file::{FileError, is_at, move_away, open_own, replace, try_open_own},
    helper::{HelperSignals, wait_for_helper},
    line_file::LineFile,
    log::{info, name, send_to_syslog, warn},
    network_fault::{PortKind, connection_fault, listen_fault, syslog_fault},
    open_files::raise_open_files,
    plain_text::{count_of, csv_cell, is_hidden, plain, plain_lines},
    privileges::{CapabilitySet, Identity, drop_capabilities, run_as, run_as_with},
    read_file::{
        FileKind, open_append, open_existing, open_file, read_file, read_file_text, read_opened,
        sync_directory,
    },
    resolve::resolve,
    sandbox::Access,
    secret::Secret,
    signals::Signals,
    startup::{ServiceOptions, Startup, parse, parse_with, run},
    system_calls::SystemCalls,
    text::{TextLine, TextLines, csv_fields, decode_line, decode_text, read_text},
    time_expression::{TIME_FORMS, parse_time},
    trial::{check_directory, check_program, full_disk, report_trial, try_writing, unwritable},
    unit_command::{UnitCommand, other_options, other_options_of, services},
    unit_files::{UnitFiles, may_be_given},
    users::{UserAccount, group_id},
    values::{
        ByteSize, HostPort, TimeSpan, local_span, optional_seconds, parse_network, seconds,
        split_name_line,
    },
};
