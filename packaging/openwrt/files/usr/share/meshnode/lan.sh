# What the router tells its local network about the gateway. Sourced by /etc/init.d/meshnode-gateway.
# shellcheck shell=dash

CONFIG=/etc/meshnode/fips.yaml
NODE='/fips/::1#5354'
GATEWAY='/fips/::1#5353'
# Hosts with nothing but a ULA do not ask for AAAA; an address out of the range for benchmarks makes them.
GLOBAL='2001:2:f1b5::1/64'

# gateway_value KEY: the value of KEY in the section `gateway:` of the file.
gateway_value() {
	sed -n '/^gateway:/,/^[^[:space:]#]/ s/^[[:space:]]\{1,\}'"$1"':[[:space:]]*"\{0,1\}\([^"#[:space:]]*\).*/\1/p' "$CONFIG" | head -n 1
}

gateway_wanted() {
	[ "$(gateway_value enabled)" = true ]
}

gateway_pool() {
	local pool
	pool=$(gateway_value pool)
	echo "${pool:-fd01::/112}"
}

# Whom dnsmasq asks for names under .fips.
ask_for_names() {
	uci -q del_list "dhcp.@dnsmasq[0].server=$NODE"
	uci -q del_list "dhcp.@dnsmasq[0].server=$GATEWAY"
	uci add_list "dhcp.@dnsmasq[0].server=$1"
	uci commit dhcp
	/etc/init.d/dnsmasq restart
}

# lan_join POOL: nothing is written that is written already.
lan_join() {
	local changed= before
	uci -q get 'dhcp.@dnsmasq[0].server' | grep -qF "$GATEWAY" || ask_for_names "$GATEWAY"
	if ! uci -q get network.lan.ip6addr | grep -qF "$GLOBAL"; then
		uci add_list "network.lan.ip6addr=$GLOBAL"
		uci commit network
		/etc/init.d/network reload
	fi
	if [ "$(uci -q get dhcp.meshnode_pool.target)" != "$1" ]; then
		uci set dhcp.meshnode_pool=route6
		uci set dhcp.meshnode_pool.interface=lan
		uci set "dhcp.meshnode_pool.target=$1"
		changed=1
	fi
	# Hosts take the router for one that leads everywhere only if it says so; what it said before is kept for later.
	before=$(uci -q get dhcp.lan.ra_default)
	if [ "$before" != 2 ]; then
		uci set "dhcp.meshnode_pool.ra_default_before=${before:-unset}"
		uci set dhcp.lan.ra_default=2
		changed=1
	fi
	[ -z "$changed" ] || { uci commit dhcp; /etc/init.d/odhcpd restart; }
}

lan_leave() {
	uci -q get 'dhcp.@dnsmasq[0].server' | grep -qF "$GATEWAY" || return 0
	local before
	before=$(uci -q get dhcp.meshnode_pool.ra_default_before)
	case $before in
		'') ;;
		unset) uci -q delete dhcp.lan.ra_default ;;
		*) uci set "dhcp.lan.ra_default=$before" ;;
	esac
	uci -q delete dhcp.meshnode_pool
	ask_for_names "$NODE"
	uci -q del_list "network.lan.ip6addr=$GLOBAL"
	uci commit network
	/etc/init.d/network reload
	/etc/init.d/odhcpd restart
}
