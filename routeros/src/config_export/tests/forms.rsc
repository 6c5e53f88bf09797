# 2026-11-22 10:00:00 by RouterOS 7.19.4
# software id = 
#
#
#
/interface bridge
add admin-mac=02:00:00:00:00:01 auto-mac=no comment=";;;;;;;;; ICMP | {a}" name=br0
add name=lo.4
/interface ethernet
# poe-out status: short_circuit
set [ find default-name=ether1 ] advertise="10M-baseT-half,100M\
    -baseT-full" comment=\
    "\C2 \F1\F2\EE" l2mtu=1590 rx-flow-control=\
    auto
set [ find default-name=ether2 ] name="ether2 -  WEST 2"
/interface gre
add !keepalive local-address=192.0.2.1 name=gre1 remote-address=192.0.2.2
/interface wifi
# managed by CAPsMAN
# mode: AP, SSID: a \
set [ find default-name=wifi1 ] configuration.country=Latvia .mode=ap .ssid="a b" disabled=no
add
/interface wireless manual-tx-power-table
set wlan1 comment="EC | b" radio-name=""
#error exporting "/interface/bridge/calea"
/interface 6to4
add name=6to4-1
/port
set 0 name=serial0
/lcd interface
set .S1..LAG disabled=yes
set "01 _" disabled=yes
/ip ipsec policy
set 0 dst-address=0.0.0.0/0 src-address=0.0.0.0/0
/ip firewall filter
add action=drop chain=input comment="\"#1\" \$x \\" dst-address-list=!l in-interface=\
    !ether1 \
    protocol=tcp
/routing filter rule
add chain=out disabled=no rule="if (dst in 192.0.2.0/24 && dst-len==24) { accept }"
/system logging action
set 3 bsd-syslog=yes remote=192.0.2.9
/system scheduler
add interval=1w3d name="a b" on-event="/system script run s" policy=\
    ftp,reboot,read,write start-date=2026-11-22 start-time=startup
/system script
add dont-require-permissions=no name=##s owner=admin policy=\
    read,write,test source=":\
    local a \"b\"\r\
    \n\r\
    \nadd x\r\
    \n# c\r\
    \n/tool fetch dst-p\
    ath=(\$a.\".rsc\") \\\r\
    \n upload=yes\r\
    \n"
add name=t source=":if (\$a=\"\\\\\") do={\
    \n}"
/tool user-manager customer
set admin access=\
    own-routers,own-users
/user group
add name=audit policy="ssh,read,!local,!\
    telnet"
/zerotier
set zt1 comment="Z - https://z.example/" \
    name=zt1 port=9993
/interface wireless cap
# 
set bridge=br0 enabled=yes interfaces=wlan1
