//! A private cluster of three MariaDB servers with Galera, on the loopback. Each node is a copy of the same data, so that none needs a
//! transfer of the state, which would take scripts of another package. So a node that was killed does not come back.

use crate::mariadb::MariaDb;
use crate::rig::{Run, program, wait_until};
use crate::ring::Ring;
use crate::server::{Server, free_port, installed};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";
/// What a node needs to be one: rows are replicated by row, and numbered by each node without a lock of the table.
const OPTIONS: [&str; 6] = [
    "--wsrep-on=ON",
    "--binlog-format=ROW",
    "--innodb-autoinc-lock-mode=2",
    "--wsrep-cluster-name=addrwatch",
    "--wsrep-node-address=127.0.0.1",
    "--wsrep-sst-method=skip",
];

/// Three nodes; they end with the test.
pub struct Galera {
    /// The first one is that of the state directory of `aw-mysql`.
    pub nodes: [MariaDb; 3],
}

impl Galera {
    /// A cluster with the empty database `addrwatch`, and a user `watch` of it; none without MariaDB or Galera.
    pub fn start() -> Option<Galera> {
        Galera::start_with(&[])
    }

    /// The same with more options of each server.
    pub fn start_with(more: &[&str]) -> Option<Galera> {
        if !installed(&[PROVIDER], "galera-4") {
            return None;
        }
        let ports = [(); 3].map(|()| [free_port(), free_port()]);
        let members = ports.map(|[port, _]| format!("127.0.0.1:{port}")).join(",");
        let cluster =
            fs::read_to_string("/proc/sys/kernel/random/uuid").expect("the kernel has it");
        let mut nodes = Vec::new();
        for (number, [port, ist]) in ports.into_iter().enumerate() {
            let provider = format!("--wsrep-provider={PROVIDER}");
            let members = format!("--wsrep-cluster-address=gcomm://{members}");
            let listen = format!("gmcast.listen_addr=tcp://127.0.0.1:{port}");
            let transfer = format!("ist.recv_addr=127.0.0.1:{ist}");
            let own = format!("--wsrep-provider-options=base_port={port};{listen};{transfer}");
            let mut options = OPTIONS.to_vec();
            options.extend([&*provider, &*members, &*own].iter().chain(more));
            let mut node = MariaDb::prepare(&options)?;
            // Each node that joins is a change of the cluster, with a number: it has seen those before it.
            let state = node.path("data/grastate.dat");
            let first = u8::from(number == 0);
            let text = format!(
                "version: 2.1\nuuid: {cluster}seqno: {number}\nsafe_to_bootstrap: {first}\n"
            );
            fs::write(&state, text).expect("its directory can be written to");
            let owner = fs::metadata(node.path("data")).expect("it is there");
            chown(&state, Some(owner.uid()), Some(owner.gid())).expect("root may, or it is ours");
            if number == 0 {
                node.options.push("--wsrep-new-cluster".into());
            }
            node.start_again();
            wait_until("the node is one of the cluster", || {
                node.sql("SHOW STATUS LIKE 'wsrep_ready'") == "wsrep_ready\tON\n"
            });
            nodes.push(node);
        }
        let nodes = <[MariaDb; 3]>::try_from(nodes).ok()?;
        nodes[0].sql(
            "CREATE DATABASE addrwatch; CREATE USER watch@'127.0.0.1' IDENTIFIED BY 'secret'; GRANT ALL ON addrwatch.* TO watch@'127.0.0.1'",
        );
        Some(Galera { nodes })
    }

    /// A configuration file that names these servers.
    pub fn config(&self, hosts: &str) -> PathBuf {
        let path = self.nodes[0].config_path();
        let text = format!("[addrwatch]\nhost = {hosts}\nuser = watch\npassword = secret\n");
        fs::write(&path, text).expect("our own directory can be written to");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        path
    }

    /// All nodes, as `host` has them.
    pub fn hosts(&self) -> String {
        self.nodes.each_ref().map(|node| format!("127.0.0.1:{}", node.port)).join(", ")
    }

    /// `aw-mysql` on this ring, with these servers; not started yet.
    pub fn command(&self, ring: &Ring, hosts: &str) -> Command {
        let mut command = program("aw-mysql", &["--ring", ring.name(), "-u", "0", "--config"]);
        command.arg(self.config(hosts)).arg("--state-dir").arg(self.nodes[0].path("state"));
        command
    }

    /// `aw-mysql` on this ring, with these servers.
    pub fn output(&self, ring: &Ring, hosts: &str) -> Run {
        Run::start(self.command(ring, hosts))
    }

    /// The node that a connection of the user is to.
    pub fn used(&self) -> Option<usize> {
        let select = "SELECT count(*) > 0 FROM information_schema.processlist WHERE user = 'watch'";
        self.nodes.iter().position(|node| node.sql(select) == "1\n")
    }
}
