# What the steps of examples/onecall share: saying what happens, processes that run until
# the end, and where things are. Sourced, not run.

# say prints a line of the report; holds one that was checked; note one that was not.
say() { printf '   %s\n' "$*"; }
holds() { printf '   ok    %s\n' "$*"; }
note() { printf '   note  %s\n' "$*"; }

step_number=0 step_title=
step() {
	step_number=$((step_number + 1)) step_title=$1
	printf '\n%d. %s\n' "$step_number" "$1"
}

# broken ends the run: what does not hold, and what to do about it. If the log of a program
# has a hint, that comes first.
broken() {
	local what=$1 remedy=$2 log=${3:-} hint
	hint=$(sed -n 's/^chanseal: hint: //p' "${log:-/dev/null}" | tail -n 1)
	printf '   FAILS %s\n' "$what"
	if [ -n "$log" ] && [ -s "$log" ]; then
		printf '         the last lines of %s:\n' "$(basename "$log" .log)"
		tail -n 4 "$log" | cut -c 1-300 | sed 's/^/           /'
	fi
	printf '\nonecall: step %d, %s: %s\n' "$step_number" "$step_title" "$what" >&2
	[ -z "$hint" ] || printf 'onecall: remedy: %s\n' "$hint" >&2
	printf 'onecall: remedy: %s\n' "$remedy" >&2
	exit 1
}

# Processes, each with a log of its name. Only they are ended, by their numbers. The log of one that is begun
# anew is kept: it is searched, too.
declare -A pids=()
begin() {
	local name=$1 n=1
	shift
	if [ -e "$tmp/$name.log" ]; then
		while [ -e "$tmp/$name.$n.log" ]; do n=$((n + 1)); done
		mv "$tmp/$name.log" "$tmp/$name.$n.log"
	fi
	"$@" </dev/null >"$tmp/$name.log" 2>&1 &
	pids[$name]=$!
}

log() { printf '%s' "$tmp/$1.log"; }
lives() { [ -n "${pids[$1]:-}" ] && kill -0 "${pids[$1]}" 2>/dev/null; }

# until_says waits until a process has written a text into its log.
until_says() {
	local name=$1 text=$2 remedy=$3 tries
	for ((tries = 0; tries < 400; tries++)); do
		grep -qF -- "$text" "$(log "$name")" && return
		lives "$name" || { grep -qF -- "$text" "$(log "$name")" && return; broken "$name ended before it was ready" "$remedy" "$(log "$name")"; }
		sleep 0.05
	done
	broken "$name does not say \"$text\"" "$remedy" "$(log "$name")"
}

# end ends a process and waits for it; status_of waits for one that ends by itself.
end() {
	local name
	for name; do
		[ -n "${pids[$name]:-}" ] || continue
		kill -TERM "${pids[$name]}" 2>/dev/null
		wait "${pids[$name]}" 2>/dev/null
		unset "pids[$name]"
	done
}

status_of() {
	local name=$1 seconds=$2 tries
	for ((tries = 0; tries < seconds * 20; tries++)); do
		if ! lives "$name"; then
			wait "${pids[$name]}"
			status=$?
			unset "pids[$name]"
			return 0
		fi
		sleep 0.05
	done
	return 1
}

# kill_hard is what a power cut does to a process.
kill_hard() {
	kill -KILL "${pids[$1]}"
	wait "${pids[$1]}" 2>/dev/null
	unset "pids[$1]"
}

leave() {
	local name p all=()
	trap - EXIT INT TERM
	for name in "${!pids[@]}"; do
		all+=("${pids[$name]}")
		kill -TERM "${pids[$name]}" 2>/dev/null
	done
	for ((tries = 0; tries < 60; tries++)); do
		for p in "${all[@]}"; do kill -0 "$p" 2>/dev/null && { sleep 0.05; continue 2; }; done
		break
	done
	for p in "${all[@]}"; do kill -KILL "$p" 2>/dev/null; done
	wait 2>/dev/null
	if $namespaces; then
		for name in customer firewall cloud; do ip netns del "$net-$name" 2>/dev/null; done
	fi
	if [ -n "$keep" ]; then
		printf 'kept: %s\n' "$tmp" >&2
	else
		rm -rf "$tmp"
	fi
}

# Where things are: with namespaces three networks (the customer's, the firewall between,
# the rest of the world), without them one machine.
place() {
	if ! $namespaces; then
		customer=() cloud=() firewall=()
		at_proxy=127.0.0.1 at_cloud=127.0.0.1
		local free
		mapfile -t free < <("$tool" ports $((12 + 7 * calls)))
		port_keys=${free[0]} port_admin=${free[1]} port_control=${free[2]} port_turn=${free[3]} port_edge=${free[4]} port_tls=${free[5]} port_metrics=${free[6]}
		port_etcd=("${free[@]:7:3}") port_peer=(${free[10]} ${free[11]} $((free[11] + 1)))
		ports_call=("${free[@]:12}")
		return
	fi
	customer=(ip netns exec "$net-customer") firewall=(ip netns exec "$net-firewall") cloud=(ip netns exec "$net-cloud")
	at_proxy=10.78.2.2 at_cloud=10.78.2.3
	port_keys=8443 port_admin=8444 port_control=4000 port_turn=4500 port_edge=8000 port_tls=443 port_metrics=9465
	port_etcd=(2379 2381 2383) port_peer=(2380 2382 2384)
	ports_call=()
	local i
	for ((i = 0; i < 7 * calls; i++)); do ports_call+=($((20000 + 2 * i))); done
	local name
	for name in customer firewall cloud; do
		ip netns add "$net-$name" && ip -n "$net-$name" link set lo up || return 1
	done
	ip link add inside netns "$net-firewall" type veth peer name eth0 netns "$net-customer" &&
		ip link add outside netns "$net-firewall" type veth peer name eth0 netns "$net-cloud" &&
		ip -n "$net-customer" addr add 10.78.1.2/24 dev eth0 && ip -n "$net-firewall" addr add 10.78.1.1/24 dev inside &&
		ip -n "$net-firewall" addr add 10.78.2.1/24 dev outside && ip -n "$net-cloud" addr add 10.78.2.2/24 dev eth0 && ip -n "$net-cloud" addr add 10.78.2.3/24 dev eth0 &&
		ip -n "$net-customer" link set eth0 up && ip -n "$net-cloud" link set eth0 up && ip -n "$net-firewall" link set inside up && ip -n "$net-firewall" link set outside up &&
		ip -n "$net-customer" route add default via 10.78.1.1 && ip -n "$net-cloud" route add default via 10.78.2.1 &&
		"${firewall[@]}" sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
}

# desk is the business server's stub: it knows its users, and issues a card for one of
# them to a file. The certificate never leaves it, and no secret is on a command line.
desk() {
	local file=$1 channel=$2 uid=$3
	shift 3
	chanseal token mint -q --app-certificate-file "${desk_app:-$tmp/app.json}" --channel "$channel" --uid "$uid" "$@" >"$file.new" 2>>"$tmp/desk.log" && mv "$file.new" "$file"
}

# tenths prints a number of milliseconds as seconds.
tenths() { printf '%d.%d' $(($1 / 1000)) $(($1 % 1000 / 100)); }
# now is the time in milliseconds. (In EPOCHREALTIME stands a comma where the locale has one.)
now() {
	local t=${EPOCHREALTIME//[!0-9]/}
	printf '%s' "${t:0:13}"
}

# cpu_ms is what a process has used of a core so far.
cpu_ms() {
	local stat
	stat=$(<"/proc/$1/stat") && stat=${stat##*) } && set -- $stat && printf '%d' $(((${12} + ${13}) * 10))
}
