//! Real DHCP servers and clients, routers and announcers of names, each in the network namespace of a host: as Debian has them,
//! without their units.

use crate::lan::{Host, ip};
use crate::rig::{Run, run, skip, wait_until};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The DHCP servers of a pair.
pub const KEA: &str = "/usr/sbin/kea-dhcp4";
/// A DHCP server, a relay, a server of boot files.
pub const DNSMASQ: &str = "/usr/sbin/dnsmasq";
/// A DHCP client.
pub const DHCLIENT: &str = "/sbin/dhclient";
/// Two routers of one address.
pub const KEEPALIVED: &str = "/usr/sbin/keepalived";
/// A router of IPv6.
pub const RADVD: &str = "/usr/sbin/radvd";
/// Announces a name by multicast DNS.
pub const AVAHI: &str = "/usr/sbin/avahi-daemon";
/// Announces a name by LLDP.
pub const LLDPD: &str = "/usr/sbin/lldpd";

/// Whether all of them are installed; or prints why the test is skipped.
pub fn are_installed(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|path| !Path::new(path).exists());
    if let Some(missing) = missing {
        skip(&format!("{missing} is not installed (contrib/setup.sh test)"));
    }
    missing.is_none()
}

/// A cable between two hosts, with an interface of this name at both ends.
pub fn cable(one: &Host, other: &Host, name: &str) {
    let (from, to) = (one.namespace(), other.namespace());
    let words = format!("link add {name} netns {from} type veth peer name {name} netns {to}");
    ip(&words).expect("there are namespaces");
    [one, other].iter().for_each(|host| host.ip(&format!("link set {name} up")));
}

/// Where its files are, and what runs in the hosts.
pub struct Infrastructure {
    directory: PathBuf,
}

impl Infrastructure {
    /// With files in this directory.
    pub fn new(directory: &Path) -> Self {
        let hook = directory.join("configure");
        // Of both clients: what they got is the address of the host, which announces it.
        let script = "#!/bin/sh\n\
            case \"$1$reason\" in bound|BOUND|renew|RENEW|REBOOT) ;; *) exit 0 ;; esac\n\
            address=${ip:-$new_ip_address}\n\
            ip address flush dev eth0 scope global\n\
            ip address add \"$address/24\" dev eth0\n\
            busybox arping -U -c 1 -I eth0 \"$address\" >/dev/null\n";
        fs::write(&hook, script).expect("our own directory");
        fs::set_permissions(&hook, Permissions::from_mode(0o755)).expect("our own file");
        fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("our own directory");
        Infrastructure { directory: directory.to_owned() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn save(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).expect("our own directory");
        self.path(name)
    }

    /// One of two servers that share the clients (load balancing) and replace each other, at 192.0.2.11 and 192.0.2.12. It serves
    /// when the other one does, or when that is gone. Its leases are of so many seconds.
    pub fn kea(&self, host: &Host, number: u8, seconds: u32) -> Run {
        let name = format!("kea{number}");
        let logger = r#"{"name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": "stdout", "flush": true}]}"#;
        let peer = |number: u8, role: &str| {
            format!(
                r#"{{"name": "kea{number}", "url": "http://192.0.2.1{number}:8001/", "role": "{role}", "auto-failover": true}}"#
            )
        };
        let hooks = "/usr/lib/x86_64-linux-gnu/kea/hooks";
        let hooks = match Path::new(hooks).exists() {
            true => hooks.to_owned(),
            false => format!("/usr/lib/{}-linux-gnu/kea/hooks", std::env::consts::ARCH),
        };
        let leases = self.path(&format!("{name}.leases"));
        let leases = leases.display();
        let text = format!(
            r#"{{"Dhcp4": {{
                "interfaces-config": {{"interfaces": ["eth0"], "dhcp-socket-type": "raw"}},
                "lease-database": {{"type": "memfile", "name": "{leases}", "lfc-interval": 0}},
                "multi-threading": {{"enable-multi-threading": true, "thread-pool-size": 1, "packet-queue-size": 16}},
                "valid-lifetime": {seconds},
                "subnet4": [{{"subnet": "192.0.2.0/24", "pools": [
                    {{"pool": "192.0.2.100-192.0.2.149", "client-class": "HA_kea1"}},
                    {{"pool": "192.0.2.150-192.0.2.199", "client-class": "HA_kea2"}}],
                    "option-data": [{{"name": "routers", "data": "192.0.2.254"}}, {{"name": "domain-name-servers", "data": "192.0.2.53"}}]}}],
                "hooks-libraries": [{{"library": "{hooks}/libdhcp_lease_cmds.so"}}, {{"library": "{hooks}/libdhcp_ha.so", "parameters": {{"high-availability": [{{
                    "this-server-name": "{name}", "mode": "load-balancing",
                    "heartbeat-delay": 500, "max-response-delay": 1500, "max-unacked-clients": 0,
                    "multi-threading": {{"enable-multi-threading": true, "http-dedicated-listener": true, "http-listener-threads": 1, "http-client-threads": 1}},
                    "peers": [{}, {}]}}]}}}}],
                "loggers": [{logger}]}}}}"#,
            peer(1, "primary"),
            peer(2, "secondary")
        );
        let file = self.save(&format!("{name}.json"), &text);
        let mut server = host.command(KEA);
        server.arg("-c").arg(file).env("KEA_PIDFILE_DIR", &self.directory);
        server.env("KEA_LOCKFILE_DIR", "none");
        Run::start(server)
    }

    /// dnsmasq without DNS, with these options.
    pub fn dnsmasq(&self, host: &Host, name: &str, options: &[&str]) -> Run {
        let mut server = host.command(DNSMASQ);
        server.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"]);
        server.args(["--bind-interfaces", "--log-facility=-", "--no-ping"]).args(options);
        server.arg(format!("--dhcp-leasefile={}", self.path(&format!("{name}.leases")).display()));
        server.arg(format!("--pid-file={}", self.path(&format!("{name}.pid")).display()));
        let server = Run::start(server);
        server.stderr.wait_for("dnsmasq-dhcp");
        server
    }

    /// One of two routers that have 192.0.2.254 in turn; the one with the higher priority has it while it runs.
    pub fn keepalived(&self, host: &Host, name: &str, priority: u8) -> Run {
        let text = format!(
            "global_defs {{\n router_id {name}\n}}\nvrrp_instance lan {{\n state BACKUP\n interface eth0\n virtual_router_id 7\n priority {priority}\n advert_int 1\n virtual_ipaddress {{\n 192.0.2.254/24\n }}\n}}\n"
        );
        let file = self.save(&format!("{name}.conf"), &text);
        let mut router = host.command(KEEPALIVED);
        router.args(["--dont-fork", "--log-console", "--vrrp", "--use-file"]).arg(file);
        router.arg("--pid").arg(self.path(&format!("{name}.pid")));
        router.arg("--vrrp_pid").arg(self.path(&format!("{name}.vrrp.pid")));
        Run::start(router)
    }

    /// A router of IPv6 that announces itself every three seconds, with this link-local address and these options.
    pub fn radvd(&self, host: &Host, name: &str, address: &str, options: &str) -> Run {
        if !host.addresses().contains(address) {
            host.ipv6("eth0");
            host.ip(&format!("address add {address}/64 dev eth0 nodad"));
            host.run(&["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"]);
        }
        let text = format!(
            "interface eth0 {{ AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; {options} }};"
        );
        let file = self.save(&format!("{name}.conf"), &text);
        let mut server = host.command(RADVD);
        server.args(["--debug=1", "--nodaemon", "--logmethod=stderr", "--config"]).arg(&file);
        server.arg("--pidfile").arg(self.path(&format!("{name}.pid")));
        let server = Run::start(server);
        server.stderr.wait_for("polling for"); // it handles signals from now on
        server
    }

    /// A host that calls itself so by multicast DNS.
    pub fn avahi(&self, host: &Host, name: &str) -> Run {
        let text = format!(
            "[server]\nhost-name={name}\nuse-ipv6=no\nallow-interfaces=eth0\nenable-dbus=no\n[publish]\npublish-workstation=no\n"
        );
        let file = self.save(&format!("{name}.avahi"), &text);
        // Its directory in /run is its own.
        let daemon = "mount -t tmpfs none /run && exec avahi-daemon --no-drop-root --no-chroot --no-rlimits -f";
        let mut server = host.command("unshare");
        server.args(["--mount", "sh", "-c", &format!("{daemon} {}", file.display())]);
        Run::start(server)
    }

    /// A host that calls itself so by LLDP.
    pub fn lldpd(&self, host: &Host, name: &str) -> Run {
        let mut server = host.command(LLDPD);
        server.args(["-d", "-S", "test switch", "-P", name, "-I", "eth0", "-u"]);
        server.arg(self.path(&format!("{name}.lldpd")));
        Run::start(server)
    }

    /// Gets a lease with busybox, and takes the address; returns whether a server gave one.
    pub fn udhcpc(&self, host: &Host, options: &[&str]) -> bool {
        let mut client = host.command("busybox");
        client.args(["udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "10", "-T", "1", "-s"]);
        client.arg(self.path("configure")).args(options);
        run(client).status.success()
    }

    /// Gets a lease with the client of ISC, which goes on running.
    pub fn dhclient(&self, host: &Host, name: &str) -> Run {
        let file = self.save(&format!("{name}.dhclient"), &format!("send host-name \"{name}\";\n"));
        let mut client = host.command(DHCLIENT);
        client.args(["-4", "-d", "-cf"]).arg(file).arg("-sf").arg(self.path("configure"));
        client.arg("-lf").arg(self.path(&format!("{name}.dhclient.leases")));
        client.arg("-pf").arg(self.path(&format!("{name}.dhclient.pid"))).arg("eth0");
        let client = Run::start(client);
        client.stderr.wait_for("bound to ");
        client
    }
}

/// Waits until the host has this address.
pub fn has_address(host: &Host, address: &str) {
    wait_until("the host has the address", || host.addresses().contains(address));
}

/// Bytes of memory of a process that are of no file.
pub fn memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = anonymous.expect("a field").trim().trim_end_matches(" kB").parse::<u64>();
    kilobytes.expect("a number") << 10
}

/// What an interface has sent: `tx_packets` or `tx_bytes`.
pub fn sent(host: &Host, what: &str) -> u64 {
    let mut command = host.command("cat");
    command.arg(format!("/sys/class/net/eth0/statistics/{what}"));
    run(command).ok().stdout.trim().parse().expect("a number")
}

/// Kills all processes of a host: some programs start others, which outlive them.
pub fn kill_all(host: &Host) {
    let mut pids = Command::new("ip");
    pids.args(["netns", "pids", host.namespace()]);
    for pid in run(pids).ok().stdout.split_whitespace() {
        let mut kill = Command::new("kill");
        kill.args(["-KILL", pid]);
        let _ = run(kill); // it may have ended
    }
}
