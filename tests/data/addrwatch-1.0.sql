-- A database as addrwatch_mysql 1.0 makes it, with a row of its own, a renamed origin and somebody's view.
CREATE TABLE log (
  tstamp timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  hostname varchar(255) NOT NULL DEFAULT 'localhost',
  interface varchar(16) NOT NULL,
  vlan_tag int(11) NOT NULL DEFAULT 0,
  mac_address binary(6) NOT NULL,
  ip_address varbinary(16) NOT NULL,
  origin_id int(11) NOT NULL,
  KEY interface (interface),
  KEY vlan_tag (vlan_tag),
  KEY mac_address (mac_address),
  KEY interface_vlan_tag (interface, vlan_tag)
);
CREATE TABLE origin (
  id int(11) NOT NULL,
  name varchar(16) NOT NULL,
  description varchar(255) NOT NULL,
  PRIMARY KEY (id)
);
INSERT INTO origin VALUES (0, 'MINE', ''), (1, 'ARP_REP', ''), (2, 'ARP_ACD', ''), (3, 'ND_NS', ''), (4, 'ND_NA', ''),
  (5, 'ND_DAD', '');
CREATE VIEW log_plaintext AS
  SELECT l.tstamp, l.hostname, l.interface, l.vlan_tag, hex(l.mac_address) AS mac_address,
    hex(l.ip_address) AS ip_address, o.name AS origin
  FROM log AS l INNER JOIN origin AS o ON o.id = l.origin_id;
INSERT INTO log VALUES (from_unixtime(1), 'old', 'eth0', 5, 0x020000000009, 0xfe800000000000000000000000000009, 4);
CREATE VIEW dashboard AS SELECT origin, count(*) AS number FROM log_plaintext GROUP BY origin;
