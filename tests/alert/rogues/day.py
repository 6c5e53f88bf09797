# Two days of a network without a rogue; the first one is learned. Argument: the file.
import sys
from scapy.all import *

R1, R2, VIRTUAL = '00:08:e1:00:00:02', '00:08:e1:00:00:03', '00:00:5e:00:01:07'
CLIENT, THREAD, THREAD2 = '00:08:e1:00:00:20', '00:08:e1:00:00:30', '00:08:e1:00:00:31'
# A guest VLAN with a server and a router of its own; machines behind the bridge of their host; an Apple TV that answers for a Mac that sleeps;
# an access point that answers for its clients, and passes on what they ask with its own MAC.
GUESTS, GUEST_SERVER = 20, '00:08:e1:00:00:25'
VM, VM2 = '52:54:00:00:00:01', '52:54:00:00:00:02'
MAC, PROXY, POINT = '00:08:e1:00:00:40', '00:08:e1:00:00:41', '00:08:e1:00:00:50'
KEA = {'192.0.2.11': '00:08:e1:00:00:11', '192.0.2.12': '00:08:e1:00:00:12'}
frames = []

def add(time, packet, vlan=None):
    if vlan:
        ether = Ether(src=packet.src, dst=packet.dst)/Dot1Q(vlan=vlan)/packet.payload
        packet = ether
    packet.time = 1717200000 + time
    frames.append(packet)

def to_all(mac):
    return Ether(src=mac, dst='ff:ff:ff:ff:ff:ff')

def claim(time, mac, ip):
    add(time, to_all(mac)/ARP(op=1, hwsrc=mac, psrc=ip, pdst=ip))

def dhcp(time, mac, source, kind, options, op=2, to='255.255.255.255', vlan=None, sender=None, **fields):
    ports = (67, 68) if op == 2 else (68, 67)
    chaddr = bytes.fromhex((CLIENT if op == 2 else mac).replace(':', ''))
    message = BOOTP(op=op, chaddr=chaddr, xid=time, **fields)/DHCP(options=[('message-type', kind)] + options + ['end'])
    add(time, to_all(sender or mac)/IP(src=source, dst=to)/UDP(sport=ports[0], dport=ports[1])/message, vlan)

def ask(time, server):
    dhcp(time, CLIENT, '0.0.0.0', 'request', [('server_id', server), ('requested_addr', '192.0.2.77'), ('hostname', 'laptop')], op=1)

def leased(server, dns, life=3600):
    return [('server_id', server), ('lease_time', life), ('router', '192.0.2.254'), ('name_server', dns), ('domain', 'example.org')]

def router(time, mac, source, life, *options, vlan=None, **fields):
    packet = Ether(src=mac, dst='33:33:00:00:00:01')/IPv6(src=source, dst='ff02::1', hlim=255)/ICMPv6ND_RA(routerlifetime=life, **fields)
    for option in options:
        packet = packet/option
    add(time, packet, vlan)

def prefix(net, valid=86400, preferred=14400):
    return ICMPv6NDOptPrefixInfo(prefix=net, prefixlen=64, validlifetime=valid, preferredlifetime=preferred)

def route(net, life=1800):
    return ICMPv6NDOptRouteInfo(prefix=net, plen=64, rtlifetime=life)

def advertise(time, mac, ip):
    packet = Ether(src=mac, dst='33:33:00:00:00:01')/IPv6(src=ip, dst='ff02::1', hlim=255)/ICMPv6ND_NA(R=0, S=0, O=1, tgt=ip)
    add(time, packet/ICMPv6NDOptDstLLAddr(lladdr=mac))

def mld(time, querier, hosts):
    add(time, Ether(src=querier, dst='33:33:00:00:00:01')/IPv6(src='fe80::1', dst='ff02::1', hlim=1)/IPv6ExtHdrHopByHop(options=RouterAlert())/ICMPv6MLQuery2())
    for mac in hosts:
        record = ICMPv6MLDMultAddrRec(rtype=2, dst='ff02::1:ff00:77')
        add(time + 3, Ether(src=mac, dst='33:33:00:00:00:16')/IPv6(src='fe80::77', dst='ff02::16', hlim=1)/IPv6ExtHdrHopByHop(options=RouterAlert())/ICMPv6MLReport2(records=[record]))

for hour in range(0, 48):
    t, later = hour * 3600, hour >= 24
    # Two routers at one address: VRRP of keepalived without a MAC of its own, and one with a virtual MAC.
    master, backup = (R1, R2) if hour % 8 < 4 else (R2, R1)
    claim(t + 1, R1, '192.0.2.2')
    claim(t + 2, R2, '192.0.2.3')
    claim(t + 3, master, '192.0.2.254')
    claim(t + 4, VIRTUAL, '192.0.2.253')
    new, old = ('2001:db8:8::', '2001:db8:7::') if later else ('2001:db8:7::', None)
    options = [prefix(new)] + ([prefix(old, 7200, 0)] if old else [])
    router(t + 5, master, 'fe80::1', 1800, *options, ICMPv6NDOptRDNSS(dns=['2001:db8::53'], lifetime=1800), ICMPv6NDOptMTU(mtu=1492), O=1)
    # Both relays hand on what the far server answers, each with its address.
    for at, mac, relay in ((6, R1, '192.0.2.2'), (7, R2, '192.0.2.3')):
        dhcp(t + at, mac, relay, 'offer', leased('198.51.100.1', '192.0.2.53'), giaddr=relay, yiaddr='192.0.2.77')
    ask(t + 8, '198.51.100.1')
    # A failover pair: which one answers first changes, and one answers for boot files only.
    for number, (server, mac) in enumerate(KEA.items()):
        claim(t + 9 + number, mac, server)
        # Its leases are shorter from the second day on.
        dhcp(t + 12 + number, mac, server, 'offer', leased(server, '192.0.2.53', 600 if later else 3600), yiaddr='192.0.2.77')
    ask(t + 15, list(KEA)[hour % 2])
    boot = [('server_id', '192.0.2.13'), ('vendor_class_id', 'PXEClient')]
    dhcp(t + 16, '00:08:e1:00:00:13', '192.0.2.13', 'offer', boot, siaddr='192.0.2.13', file=b'pxelinux.0' if hour % 2 else b'bootx64.efi')
    # A server of home routers, which names itself so.
    dhcp(t + 17, '00:08:e1:00:00:14', '192.0.2.14', 'ack', leased('255.255.255.255', '192.0.2.53'), yiaddr='192.0.2.78')
    # Border routers of Thread: one from the first day on, whose mesh gets another prefix, and one that is new.
    mesh = 'fd00:2::' if hour >= 36 else 'fd00:1::'
    router(t + 20, THREAD, 'fe80::30', 0, prefix('fd00:9::'), route(mesh), *([route('fd00:1::', 0)] if hour == 36 else []), chlim=0)
    if hour >= 30:
        router(t + 21, THREAD2, 'fe80::31', 0, prefix('fd00:9::'), route(mesh), chlim=0, M=0, O=0)
    mld(t + 22, R1, [CLIENT])
    dhcp(t + 23, GUEST_SERVER, '203.0.113.1', 'offer', leased('203.0.113.1', '203.0.113.53'), vlan=GUESTS, yiaddr='203.0.113.77')
    # It was restarted by its watchdog, without a last message.
    if hour != 28:
        router(t + 24, GUEST_SERVER, 'fe80::25', 1800, prefix('2001:db8:20::'), vlan=GUESTS)
    for number, mac in enumerate([VM, VM2] if hour >= 30 else [VM]):
        dhcp(t + 25 + number, mac, '0.0.0.0', 'request', [('server_id', '192.0.2.11'), ('requested_addr', f'192.0.2.9{number}')], op=1)
        claim(t + 27 + number, mac, f'192.0.2.9{number}')
    awake = MAC if hour % 4 < 2 else PROXY
    claim(t + 30, PROXY, '192.0.2.41')
    claim(t + 31, awake, '192.0.2.40')
    advertise(t + 32, awake, 'fe80::40')
    dhcp(t + 33, CLIENT, '0.0.0.0', 'request', [('server_id', '192.0.2.11'), ('requested_addr', '192.0.2.77')], op=1, sender=POINT)
    claim(t + 34, CLIENT, '192.0.2.77')
    claim(t + 40, POINT, '192.0.2.77')
    advertise(t + 41, CLIENT, 'fe80::77')
    advertise(t + 47, POINT, 'fe80::77')
wrpcap(sys.argv[1], sorted(frames, key=lambda packet: packet.time))
