//! The record's line of text: `seconds interface vlan mac address KIND`, as an event's, then what else the message has.

use std::{fmt, net::IpAddr};

use super::{NameKind, NameRecord, NameText};
use crate::ip_text;

impl fmt::Display for NameRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.time.seconds())?;
        self.fmt_after_time(f)
    }
}

impl NameRecord {
    /// The line from the interface on, for outputs that write the time in another format.
    pub fn after_time(&self) -> impl fmt::Display + '_ {
        fmt::from_fn(|f| self.fmt_after_time(f))
    }

    /// The name of the second address.
    pub fn other_name(&self) -> &'static str {
        match self.kind {
            NameKind::Redirect => "destination",
            kind if kind.is_router() => "router",
            NameKind::MldReport | NameKind::MldDone | NameKind::MldQuery => "group",
            _ => "server",
        }
    }

    /// The name of the third address.
    pub fn relay_name(&self) -> &'static str {
        match self.kind {
            NameKind::Redirect | NameKind::DhcpRoute => "router",
            _ => "relay",
        }
    }

    /// Whether the lifetime is part of what the message claims, also if it is 0.
    pub fn has_lifetime(&self) -> bool {
        use NameKind::*;
        match self.kind {
            RouterPortal => false,
            AddrReg | MdnsHost | MdnsModel | MdnsSleepProxy | Lldp => true,
            DhcpAck | DhcpOffer => self.lifetime > 0,
            kind => kind.is_router(),
        }
    }

    fn fmt_after_time(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NameRecord { interface, vlan, mac, kind, .. } = self;
        write!(f, "{interface} {vlan} {mac} ")?;
        match self.ip() {
            Some(ip) => write!(f, "{}", ip_text(ip))?,
            None => write!(f, "-")?,
        }
        write!(f, " {kind}")?;
        if self.sender != self.mac {
            write!(f, " sender={}", self.sender)?;
        }
        let address = |f: &mut fmt::Formatter, name: &str, ip: Option<IpAddr>| match ip {
            Some(ip) => write!(f, " {name}={}", ip_text(ip)),
            None => Ok(()),
        };
        address(f, self.other_name(), self.other_ip())?;
        address(f, self.relay_name(), self.relay_ip())?;
        // What a server says of itself may be another's address.
        let has_source = self.kind.is_infrastructure() && self.kind.is_dhcp();
        let source =
            self.source_ip().filter(|source| has_source && Some(*source) != self.other_ip());
        address(f, "source", source)?;
        if let Some(reason) = self.reason {
            write!(f, " reason={}", reason.name())?;
        }
        if kind.has_prefix() {
            write!(f, " length={}", self.prefix)?;
        }
        if self.has_lifetime() {
            match self.lifetime {
                u32::MAX => write!(f, " lifetime=infinite")?,
                seconds => write!(f, " lifetime={seconds}")?,
            }
        }
        if kind.has_flags() {
            write!(f, " flags={:#04x}", self.flags)?;
        }
        for mark in self
            .marks
            .names()
            .filter(|mark| ["incomplete", "bad_option", "bad_text"].contains(mark))
        {
            write!(f, " {mark}=yes")?;
        }
        text(f, "name", &self.name)?;
        if self.kind == NameKind::Lldp {
            text(f, "port", &self.circuit)?;
        }
        text(f, "detail", &self.detail)
    }
}

fn text(f: &mut fmt::Formatter, name: &str, text: &NameText) -> fmt::Result {
    if text.is_empty() {
        return Ok(());
    }
    write!(f, " {name}=\"")?;
    for c in text.as_str().chars() {
        if matches!(c, '"' | '\\') {
            write!(f, "\\")?;
        }
        write!(f, "{c}")?;
    }
    write!(f, "\"")
}

impl NameKind {
    /// Whether it comes from a Router Advertisement.
    pub const fn is_router(self) -> bool {
        use NameKind::*;
        (self as u8) >= Router as u8
            && (self as u8) <= RouterPortal as u8
            && !matches!(self, RouterSolicitation | Redirect)
    }

    /// Whether the address begins a prefix.
    pub const fn has_prefix(self) -> bool {
        use NameKind::*;
        matches!(self, RouterPrefix | RouterRoute | RouterNat64 | DhcpRoute)
    }

    /// Whether the flags of the message are stored.
    pub const fn has_flags(self) -> bool {
        use NameKind::*;
        matches!(self, Router | RouterPrefix | RouterRoute)
    }
}
