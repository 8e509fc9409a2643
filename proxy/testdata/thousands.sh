#!/usr/bin/env bash
# thousands.sh CHANSEAL [CLIENTS] [SESSIONS] [TRANSPORT...]: thousands of allocations at a time, by coturn's own
# client (Debian: coturn), over UDP, TCP and TLS. Prints what was allocated, relayed and lost,
# and the proxy's memory. Loopback only.
#
# Each client has a loopback address of its own: turnutils_uclient leaves sockets behind whose
# allocations live on, and asks again from their ports when the system gives them out again.
# That must be answered by 437 (RFC 8656, Section 7.2), for which it waits a second.
set -u
bin=$(realpath "$1") clients=${2:-40} sessions=${3:-50} transports=("${@:4}")
[ ${#transports[@]} -gt 0 ] || transports=(udp tcp tls)
dir=$(mktemp -d); trap 'kill $peer $pid 2>/dev/null; rm -rf "$dir"' EXIT
cd "$dir" || exit 1
"$bin" token app create -q -o app.json >/dev/null; echo user:pass >users
turnutils_peer -L 127.0.0.1 -p 23480 >/dev/null 2>&1 & peer=$!
failed=0
for transport in "${transports[@]}"; do
	case $transport in udp) flags='-p 28000' ;; tcp) flags='-t -p 28000' ;; tls) flags='-t -S -p 28443' ;; esac
	"$bin" proxy -q --app-certificate-file app.json --static-user-file users --relay-address 127.0.0.1 --media 127.0.0.1/32 --listen-address 127.0.0.1 \
		--control-ports none --media-ports none --socks-ports none --tls-ports 28443 --edge-ports 28000 --metrics 127.0.0.1:29464 --drain-time 1ms 2>log & pid=$!
	until curl -sf http://127.0.0.1:29464/healthz >/dev/null; do
		kill -0 $pid 2>/dev/null || { echo "$transport: the proxy did not start" >&2; cat log >&2; exit 1; }
		sleep 0.1
	done
	waits=() most=0
	for i in $(seq "$clients"); do
		# shellcheck disable=SC2086
		timeout 100 turnutils_uclient -u user -w pass -L "127.0.1.$i" -e 127.0.0.1 -r 23480 $flags -m "$sessions" -l 172 -z 500 -n 10 127.0.0.1 >"out.$i" 2>&1 & waits+=($!)
	done
	while kill -0 "${waits[@]}" 2>/dev/null; do
		n=$(curl -s http://127.0.0.1:29464/metrics | awk '/^chanseal_proxy_sessions\{/{n+=$2}END{print n+0}')
		((n > most)) && most=$n && rss=$(awk '/VmRSS/{print $2}' /proc/$pid/status)
		sleep 0.2
	done
	wait "${waits[@]}"
	sent=$(cat out.* | sed -n 's/.*start_mclient: tot_send_msgs=\([0-9]*\), tot_recv_msgs=\([0-9]*\)$/\1 \2/p' | awk '{s+=$1;r+=$2}END{print s+0, r+0}')
	errors=$(cat out.* | grep -o 'error [0-9]*' | sort | uniq -c | tr -s ' \n' ' ')
	finished=$(grep -l 'Total lost packets' out.* | wc -l)
	read -r s r <<<"$sent"
	echo "$transport: $finished of $clients clients finished; at most $most sessions at a time; $s messages sent, $r came back; proxy ${rss:-0} KiB; errors:${errors:- none}"
	((finished == clients && s == r && s > 0)) || failed=1
	kill $pid; wait $pid 2>/dev/null
	rm -f out.*
done
exit $failed
