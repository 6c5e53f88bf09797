//! `--check`: tries what the collector will do, as its user, and reports each fault. Captures and ports are opened and closed, and a
//! ring of another name is created and removed; no frame is read, and no interface changes its mode.

use std::{
    fs,
    io::{self, Write, stdout},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::Path,
    process::ExitCode,
};

use aw_service::{
    Identity, UnitFiles, UserAccount, check_directory, other_options_of, report_trial, run_as,
    run_as_with, unit_of_process, user_name,
};
use pcap::{Capture, Linktype};
use rustix::{
    fs::{Access, access},
    process::geteuid,
};
use shm_layout::{
    CreateError, InterfaceName, Reader, RingName, Start, Writer, WriterOptions, examine,
    examine_names, remove,
};

use crate::{
    Error,
    event_name::check_event_names,
    failed,
    interface::{self, CaptureOptions, OpenError},
    live::check_missing,
    members,
    options::{CONFIGURED, DEFAULT_USER, Options, TRUSTED_USERS, unit_name},
    udp_source,
};

/// Tries all, and prints what was found.
pub fn check(options: &Options) -> ExitCode {
    if let Some(instance) = &options.instance {
        let check = format!("collector --instance {instance}");
        let others = other_options_of(&unit_name(instance), "collector", &check);
        if let Some(others) = others {
            let _ = writeln!(stdout(), "{others}"); // also if there are faults
        }
    }
    report_trial(Trial::new(options).and_then(|mut trial| {
        trial.interfaces();
        trial.sockets()?;
        trial.join()?;
        trial.samples()?;
        trial.ring()?;
        let user = run_as(trial.identity.as_ref(), user_name)?;
        trial.notes.push(format!("no fault, as far as user {user} can try it"));
        Ok((trial.notes, trial.faults))
    }))
}

struct Trial<'a> {
    options: &'a Options,
    /// The unit that starts it, and whose user and limits it will have.
    unit: Option<UnitFiles>,
    /// What it will become, if it may change its identity.
    identity: Option<Identity>,
    notes: Vec<String>,
    faults: Vec<String>,
}

impl Trial<'_> {
    fn new(options: &Options) -> Result<Trial<'_>, Error> {
        let is_root = geteuid().is_root();
        let instance = options.instance.as_ref();
        let instance = instance.filter(|_| is_root && options.service.user.is_none());
        let unit = instance.and_then(|instance| UnitFiles::of(&unit_name(instance)));
        let of_unit = unit.as_ref().map(UnitFiles::identity).transpose()?.flatten();
        let identity = of_unit.map_or_else(|| options.identity(), |found| Ok(Some(found)))?;
        let (mut notes, faults) = (Vec::new(), options.files_without_effect());
        if is_root && options.service.user.is_none() && UserAccount::named(DEFAULT_USER).is_none() {
            notes.push(format!(
                "there is no user {DEFAULT_USER}: the collector stays root (useradd --system {DEFAULT_USER}, or name another with -u)"
            ));
        }
        Ok(Trial { options, unit, identity, notes, faults })
    }

    fn fault(&mut self, why: impl ToString) {
        let why = why.to_string();
        if !self.faults.contains(&why) {
            self.faults.push(why);
        }
    }

    /// The filter once, and not for each interface.
    fn interfaces(&mut self) {
        let options = self.options;
        if let Some(filter) = &options.filter
            && let Ok(mut none) = Capture::dead(Linktype::ETHERNET)
            && let Err(why) = interface::compile(&mut none, filter)
        {
            return self.fault(why);
        }
        let mut names = match options.sources() {
            Ok(sources) => sources.names,
            Err(why) => return self.fault(why),
        };
        if names.is_empty() && !options.has_sockets() {
            match interface::first() {
                Ok(first) => names.push(first),
                Err(why) => return self.fault(why),
            }
        }
        // With --join, the interfaces of the others count, too.
        if options.join.is_none()
            && let Err(why) = check_event_names(options, &names)
        {
            self.fault(why);
        }
        let (filter, decapsulate, with_names) =
            (options.filter.clone(), options.decapsulate, options.with_names);
        let capture = CaptureOptions {
            promiscuous: false,
            filter,
            decapsulate,
            names: with_names,
            interfaces: names.len(),
        };
        let opened: Vec<(InterfaceName, Result<_, OpenError>)> =
            names.iter().map(|name| (*name, interface::open(*name, &capture))).collect();
        let mut missing = Vec::new();
        for (name, opened) in &opened {
            match opened {
                Ok(_) => {
                    self.notes.push(format!("{name} can be captured"));
                    missing.push((*name, None));
                }
                Err(OpenError { temporary: true, why }) => missing.push((*name, Some(&**why))),
                Err(OpenError { why, .. }) => self.fault(format_args!("listen on {name}: {why}")),
            }
        }
        if missing.len() < opened.len() {
            return; // it does not start, whatever the others are
        }
        match check_missing(options, &missing) {
            Err(why) => self.fault(why),
            Ok(()) => {
                // The name of a unit may be no interface; what an option names is to be one, and --wait is for one that comes later.
                let label = options.sources().ok().and_then(|sources| sources.label);
                let absent = missing.iter().filter_map(|(name, why)| Some((*name, (*why)?)));
                for (name, why) in absent {
                    let waits = format!("the collector waits for {name}: {why}{}", of_parent(name));
                    match options.wait || label == Some(name) || why != interface::NO_SUCH {
                        true => self.notes.push(waits),
                        false => {
                            let file = match &options.instance {
                                Some(instance) => format!(
                                    "--wait in OPTIONS of {CONFIGURED}/collector-{instance}.conf"
                                ),
                                None => "--wait".into(),
                            };
                            self.fault(format_args!(
                                "{waits}: correct the name, or, if it comes later, accept that with {file}"
                            ));
                        }
                    }
                }
            }
        }
    }

    /// The ports, as its unit's user or else before it drops its privileges. The running collector of this ring may have some of
    /// them: the others are tried all the same.
    fn sockets(&mut self) -> Result<(), Error> {
        let options = self.options;
        if let Err(why) = udp_source::bind(options, |_| true) {
            self.fault(why); // of the allowed senders
            return Ok(());
        }
        let process = writer(&options.ring);
        for (source, address) in udp_source::addresses(options) {
            let bind = || udp_source::bind(options, |option| option != source).map(drop);
            let bound = match &self.unit {
                Some(unit) => run_as_with(self.identity.as_ref(), unit.capabilities(), bind)?,
                None => bind(),
            };
            match (bound, process) {
                (Ok(()), _) => {}
                (Err(_), Some(process)) if has_port(process, address) => {
                    self.notes.push(format!(
                        "process {process}, which writes to this ring, has the port of {source}"
                    ));
                }
                (Err(why), _) => self.fault(why),
            }
        }
        Ok(())
    }

    /// The directory of `--join`: it exists, or can be created.
    fn join(&mut self) -> Result<(), Error> {
        let Some(directory) = &self.options.join else { return Ok(()) };
        let user = self.identity.as_ref().map_or(geteuid(), |identity| identity.user).as_raw();
        let is_missing = |path: &Path| {
            path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        if !is_missing(directory) {
            if let Err(why) = members::examine(directory, user) {
                self.fault(why);
            }
            return Ok(());
        }
        let is_created = self.unit.as_ref().is_some_and(|unit| unit.creates(directory));
        let parent = directory.ancestors().find(|path| !is_missing(path));
        let parent = parent.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if is_created {
            return Ok(());
        }
        let try_it = || access(parent, Access::WRITE_OK | Access::EXEC_OK);
        let tried = match &self.unit {
            Some(unit) => match unit.forbids_writing(directory) {
                Some(why) => {
                    self.fault(format_args!("--join: {why}"));
                    return Ok(());
                }
                None => run_as(self.identity.as_ref(), try_it)?,
            },
            None => try_it(),
        };
        if tried.is_err() {
            self.fault(format_args!(
                "--join {}: create it: permission denied (choose a directory of the collector's user)",
                directory.display()
            ));
        }
        Ok(())
    }

    /// The directory of `--snap-malformed`, where the next file will be created, too.
    fn samples(&mut self) -> Result<(), Error> {
        let Some(file) = &self.options.snap_malformed else { return Ok(()) };
        self.options.files()?;
        let file = std::path::absolute(file)
            .map_err(|error| Error::io(format_args!("resolve path {}", file.display()), error))?;
        let Some(directory) = file.parent() else { return Ok(()) };
        let tried = || check_directory(directory, "--snap-malformed");
        let tried = match &self.unit {
            Some(_) => run_as(self.identity.as_ref(), tried)?,
            None => tried(),
        };
        let forbidden = self.unit.as_ref().and_then(|unit| unit.forbids_writing(directory));
        self.faults.extend(forbidden.or(tried.err())); // the remedy of the unit has the steps for its user, too
        Ok(())
    }

    /// Whether the name is free for its user, and a ring of this size and group can be created.
    fn ring(&mut self) -> Result<(), Error> {
        let ring = self.options.writer()?;
        let name = &ring.name;
        let examined = run_as(self.identity.as_ref(), || examine(name))?;
        let is_root = geteuid().is_root();
        if self.options.with_names {
            let of_names = run_as(self.identity.as_ref(), || examine_names(name))?;
            match of_names {
                // As below.
                Ok(()) | Err(CreateError::Busy(_)) => {}
                Err(CreateError::ForeignOwner(_, owner)) if is_root && !is_trusted(owner) => {}
                Err(why) => self.fault(format_args!("open ring {}: {why}", name.names())),
            }
        }
        let note = match examined {
            Ok(()) => format!("ring {name} can be written"),
            Err(CreateError::Busy(id)) => {
                let process = id.map_or("another collector".into(), |id| format!("process {id}"));
                match self.options.join {
                    Some(_) => {
                        format!("ring {name} is written by {process}: this collector joins it")
                    }
                    None => match id.and_then(unit_of_process) {
                        Some(unit) => format!("ring {name} is written by the running {unit}"),
                        None => format!(
                            "ring {name} is written by {process}, which runs already: if you start another one, stop that one first"
                        ),
                    },
                }
            }
            // Root removes it at the start, unless it is the ring of another program of this system.
            Err(CreateError::ForeignOwner(one, owner)) if is_root && !is_trusted(owner) => {
                format!(
                    "{} of user id {owner} will be removed: it prevents the collector from creating ring {name}",
                    one.path().display()
                )
            }
            Err(why) => {
                self.fault(format_args!("open ring {name}: {why}"));
                return Ok(());
            }
        };
        self.notes.push(note);
        let created = run_as(self.identity.as_ref(), || try_ring(&ring))?;
        if let Err(why) = created {
            self.fault(why);
        }
        Ok(())
    }
}

/// Creates a ring of another name, and removes it: as large as this one, if that does not exist yet.
fn try_ring(options: &WriterOptions) -> Result<(), Error> {
    let name: RingName = format!("/addrwatch-check-{}", std::process::id())
        .parse()
        .map_err(|why| failed(format_args!("name a ring: {why}")))?;
    let exists = fs::metadata(options.name.path()).is_ok_and(|file| file.len() > 0);
    let slots = if exists { 2 } else { options.slots };
    let created = Writer::create(&WriterOptions { name: name.clone(), slots, ..options.clone() });
    let tried = created.map(drop);
    let removed = remove(&name);
    tried.map_err(|error| {
        let shown = error.to_string().replace(name.as_str(), options.name.as_str());
        Error::new(format_args!("open ring {}", options.name), shown)
    })?;
    removed.map_err(|error| Error::new(format_args!("remove ring {name}"), error))
}

/// A user whose rings outputs trust, beside the collector's.
fn is_trusted(owner: u32) -> bool {
    let users = TRUSTED_USERS.iter().filter_map(|name| UserAccount::named(name));
    users.into_iter().any(|user| user.uid.as_raw() == owner)
}

/// The process that writes to the ring, as the ring says.
fn writer(ring: &RingName) -> Option<u64> {
    let owner = ring.path().metadata().ok()?;
    let owners = [std::os::unix::fs::MetadataExt::uid(&owner)];
    Reader::attach_to(ring, &owners, Start::Now).ok()?.writer()
}

/// Whether only this process prevents that a port is opened: it has the port for datagrams, of this address, and the address is
/// one of this machine. Its sockets are in /proc/PID/fd, their numbers and addresses in /proc/net/udp (proc_pid_net(5)).
fn has_port(process: u64, wanted: SocketAddr) -> bool {
    let mut any_port = wanted; // with its zone
    any_port.set_port(0);
    if UdpSocket::bind(any_port).is_err() {
        return false;
    }
    let links = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let links = links.filter_map(|link| fs::read_link(link.path()).ok());
    let own: Vec<_> = links.filter_map(|to| Some(to.to_str()?.to_owned())).collect();
    let tables = ["udp", "udp6"].map(|table| fs::read_to_string(format!("/proc/net/{table}")));
    tables.iter().flatten().flat_map(|table| table.lines()).any(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let (Some(local), Some(inode)) = (fields.get(1), fields.get(9)) else { return false };
        let Some((ip, port)) = local.split_once(':') else { return false };
        let is_same = kernel_address(ip).is_some_and(|ip| {
            ip == wanted.ip() || ip.is_unspecified() || wanted.ip().is_unspecified()
        });
        is_same
            && u16::from_str_radix(port, 16) == Ok(wanted.port())
            && own.iter().any(|socket| *socket == format!("socket:[{inode}]"))
    })
}

/// An address as the kernel prints it: words of the machine's byte order in hexadecimal.
fn kernel_address(text: &str) -> Option<IpAddr> {
    let words = text.as_bytes().chunks(8).map(|word| {
        u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok().map(u32::to_ne_bytes)
    });
    let words = words.collect::<Option<Vec<_>>>()?;
    match words[..] {
        [word] => Some(Ipv4Addr::from(word).into()),
        [_, _, _, _] => Some(Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?).into()),
        _ => None,
    }
}

/// Of a name as that of a VLAN: its interface captures it.
fn of_parent(name: InterfaceName) -> String {
    let parent = name.as_str().split_once('.');
    let parent = parent.and_then(|(parent, _)| parent.parse::<InterfaceName>().ok());
    match parent.filter(|parent| interface::absent(*parent).is_none()) {
        Some(parent) => format!("; {parent} captures all its VLANs without an interface for each"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_kernel() {
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        assert_eq!(kernel_address(&word([127, 0, 0, 1])), Some(Ipv4Addr::LOCALHOST.into()));
        let zero = word([0; 4]).repeat(3);
        assert_eq!(kernel_address(&(zero + &word([0, 0, 0, 1]))), Some(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(kernel_address("local_address"), None);
    }
}
