-- A table as addrwatch 0.8 makes it with --mysql. The first timestamp of such a table changes whenever its row does.
SET time_zone = '+00:00';
CREATE TABLE addrwatch (
  tstamp timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  hostname varchar(256) NOT NULL,
  interface varchar(16) NOT NULL,
  vlan_tag int(11) NOT NULL,
  mac_address varchar(17) NOT NULL,
  ip_address varchar(42) NOT NULL,
  origin varchar(8) NOT NULL,
  KEY interface (interface),
  KEY vlan_tag (vlan_tag),
  KEY interface_vlan_tag (interface, vlan_tag)
);
INSERT INTO addrwatch VALUES
  (from_unixtime(1400000001), 'old', 'eth0', 0, '02:00:00:00:00:01', '192.0.2.1', 'ARP_REQ'),
  (from_unixtime(1400000002), 'old', 'eth0', 7, '02:00:00:AB:cd:ef', '192.0.2.2', 'ARP_REP'),
  (from_unixtime(1400000003), 'old', 'eth1', 0, '2:0:0:0:a:3', '192.0.2.3', 'ARP_ACD'),
  (from_unixtime(1400000004), 'old', 'eth1', 0, '02:00:00:00:00:04', 'fe80::4', 'ND_NS'),
  (from_unixtime(1400000005), 'old', 'eth1', 0, '02:00:00:00:00:05', '2001:db8::192.0.2.5', 'ND_NA'),
  (from_unixtime(1400000006), 'old', 'eth1', 0, '02:00:00:00:00:06', '2001:DB8:0:0:0:0:0:6', 'ND_DAD'),
  (from_unixtime(1400000007), 'old', 'eth0', 0, 'rubbish', '192.0.2.1', 'ARP_REQ'),
  (from_unixtime(1400000008), 'old', 'eth0', 0, '02:00:00:00:00:08', 'rubbish', 'ARP_REQ'),
  (from_unixtime(1400000009), 'old', 'eth0', 0, '02:00:00:00:00:09', '192.0.2.9', 'rubbish'),
  (from_unixtime(1772323199), repeat('h', 256), 'eth0', 0, '02:00:00:00:00:0a', '192.0.2.10', 'ARP_REQ');
