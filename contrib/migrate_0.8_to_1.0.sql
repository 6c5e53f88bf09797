-- Moves the rows of addrwatch 0.8 (one table, `addrwatch`, all columns text) into the tables of addrwatch 1.0, which
-- aw-mysql creates when it starts. Make a backup first, start aw-mysql once, then run:
--
--   mariadb DATABASE < migrate_0.8_to_1.0.sql
--
-- The rows move in one transaction: if it is interrupted, no row has moved, and you can run it again. Rows without a valid
-- MAC address, IP address or origin stay in `addrwatch`; drop that table when you have checked them. If aw-mysql has a
-- prefix (-p), write it before every `log` and `origin` below. A table of ten million rows takes minutes.

-- UTC: in a zone with daylight saving time, one hour of the year comes twice.
SET time_zone = '+00:00';

-- A MAC address as addrwatch wrote it; some C libraries omit leading zeros.
SET @mac = '^[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){5}$';

-- MyISAM, the former default engine, has no transactions. A table is converted only if its engine is not InnoDB.
SET @step = (SELECT if(count(*) > 0, 'DO 0', 'ALTER TABLE addrwatch ENGINE = InnoDB') FROM information_schema.tables
    WHERE table_schema = database() AND table_name = 'addrwatch' AND engine = 'InnoDB');
PREPARE step FROM @step;
EXECUTE step;
SET @step = (SELECT if(count(*) > 0, 'DO 0', 'ALTER TABLE log ENGINE = InnoDB') FROM information_schema.tables
    WHERE table_schema = database() AND table_name = 'log' AND engine = 'InnoDB');
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;

START TRANSACTION;

INSERT INTO log (tstamp, hostname, interface, vlan_tag, mac_address, ip_address, origin_id)
SELECT old.tstamp, left(old.hostname, 255), old.interface, old.vlan_tag,
    unhex(concat(
        lpad(substring_index(old.mac_address, ':', 1), 2, '0'),
        lpad(substring_index(substring_index(old.mac_address, ':', 2), ':', -1), 2, '0'),
        lpad(substring_index(substring_index(old.mac_address, ':', 3), ':', -1), 2, '0'),
        lpad(substring_index(substring_index(old.mac_address, ':', 4), ':', -1), 2, '0'),
        lpad(substring_index(substring_index(old.mac_address, ':', 5), ':', -1), 2, '0'),
        lpad(substring_index(old.mac_address, ':', -1), 2, '0'))),
    inet6_aton(old.ip_address), origin.id
FROM addrwatch AS old JOIN origin ON origin.name = old.origin
WHERE old.mac_address REGEXP @mac AND inet6_aton(old.ip_address) IS NOT NULL
ORDER BY old.tstamp
FOR UPDATE;

DELETE old
FROM addrwatch AS old JOIN origin ON origin.name = old.origin
WHERE old.mac_address REGEXP @mac AND inet6_aton(old.ip_address) IS NOT NULL;

COMMIT;

SELECT count(*) AS `rows that stay in addrwatch` FROM addrwatch;
