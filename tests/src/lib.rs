//! Tools of the end-to-end tests: frames and capture files built by hand, processes, servers, namespaces.
//!
//! No module uses the crates of the product: a test that took its expectations from the code under test could not
//! fail.
#![forbid(unsafe_code)]

pub mod alerting;
pub mod bench;
pub mod browser;
pub mod cable;
pub mod capture_file;
pub mod certificates;
pub mod checkpoint;
pub mod clickhouse;
pub mod clock;
pub mod collect;
pub mod debian;
pub mod dhcp;
pub mod encapsulation;
pub mod feed;
pub mod forms;
pub mod frames;
pub mod galera;
pub mod history;
pub mod hostile;
pub mod hub;
pub mod infrastructure;
pub mod lan;
pub mod listening;
pub mod mail_sink;
pub mod mariadb;
pub mod mirrored;
pub mod mosquitto;
pub mod mount;
pub mod moving;
pub mod mysql_login;
pub mod mysql_proxy;
pub mod nats;
pub mod neighbor;
pub mod receiver;
pub mod refusals;
pub mod rig;
pub mod ring;
pub mod routeros;
pub mod rows;
pub mod rsyslog;
pub mod sample;
pub mod scenarios;
pub mod seeds;
pub mod server;
pub mod sftp_server;
pub mod sightings;
pub mod spool;
pub mod tracker;
pub mod usage;
pub mod watching;
pub mod web;
pub mod web_sink;
