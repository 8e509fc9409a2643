#!/usr/bin/env bash
# compare.sh CHANSEAL [ROUNDS]: the proxy beside coturn (Debian: coturn), in turns, under the
# load of coturn's own client. Prints the server's CPU time per relayed message (both ways
# counted), lost messages, round trip and memory. Loopback only.
set -u
bin=$(realpath "$1") rounds=${2:-3}
dir=$(mktemp -d); trap 'kill $peer 2>/dev/null; rm -rf "$dir"' EXIT
cd "$dir" || exit 1
"$bin" token app create -q -o app.json >/dev/null; echo user:pass >users
turnutils_peer -L 127.0.0.1 -p 23480 >/dev/null 2>&1 & peer=$!
ticks() { awk '{print $14+$15}' "/proc/$1/stat"; }
rss() { awk '/VmRSS/{print $2}' "/proc/$1/status"; }
start() {
	case $1 in
	ours) "$bin" proxy -q --app-certificate-file app.json --static-user-file users --relay-address 127.0.0.1 --media 127.0.0.1/32 --listen-address 127.0.0.1 \
		--control-ports none --media-ports none --socks-ports none --tls-ports none --edge-ports 28000 --drain-time 1ms 2>log & ;;
	coturn) turnserver -n -m 1 -L 127.0.0.1 -E 127.0.0.1 -p 28000 -u user:pass -r chanseal -a --allow-loopback-peers --no-cli --no-tls --no-dtls --log-file "$dir/coturn.log" --pidfile "$dir/pid" --simple-log >/dev/null 2>&1 & ;;
	esac
	pid=$!
	for _ in $(seq 50); do ss -lun 2>/dev/null | grep -q ':28000 ' && break; sleep 0.1; done
}
load() { # name, arguments of turnutils_uclient
	local name=$1 server client first before after out sent recv lost rtt
	shift
	for _ in $(seq "$rounds"); do
		for server in coturn ours; do
			start $server
			timeout 60 turnutils_uclient -u user -w pass -e 127.0.0.1 -r 23480 -p 28000 -c "$@" 127.0.0.1 >out 2>&1 & client=$!
			# From the first second of traffic on: allocations are another matter.
			until grep -q 'tot_send_msgs=[1-9]' out || ! kill -0 $client 2>/dev/null; do sleep 0.05; done
			before=$(ticks $pid)
			first=$(sed -n 's/.*tot_send_msgs=\([0-9]*\), tot_recv_msgs=\([0-9]*\).*/\1 \2/p' out | grep -v '^0' | head -1)
			wait $client
			after=$(ticks $pid)
			out=$(cat out)
			sent=$(sed -n 's/.*tot_send_msgs=\([0-9]*\), tot_recv_msgs.*/\1/p' <<<"$out" | tail -1)
			recv=$(sed -n 's/.*tot_recv_msgs=\([0-9]*\).*/\1/p' <<<"$out" | tail -1)
			lost=$(sed -n 's/.*Total lost packets \([0-9]* ([0-9.]*%)\).*/\1/p' <<<"$out" | tail -1)
			rtt=$(sed -n 's/.*Average round trip delay \([0-9.]*\) ms.*max = \([0-9]*\).*/\1 max \2/p' <<<"$out" | tail -1)
			awk -v f="${first:-0 0}" -v s="${sent:-0}" -v r="${recv:-0}" -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" -v n="$name" -v w=$server -v l="$lost" -v d="$rtt" -v m="$(rss $pid)" \
				'BEGIN{ split(f, x, " "); printf "%-28s %-7s %6.2f us/msg  sent %d  lost %s  round trip %s ms  rss %d KiB\n", n, w, (s+r-x[1]-x[2])?t/hz*1e6/(s+r-x[1]-x[2]):0, s, l, d, m }'
			kill $pid; wait $pid 2>/dev/null
		done
	done
}
[ -n "${SKIP1:-}" ] || load "100 x 172 B, 20 ms" -m 100 -l 172 -z 20 -n "${N1:-300}"
[ -n "${SKIP2:-}" ] || load "200 x 1000 B, 10 ms" -m 200 -l 1000 -z 10 -n "${N2:-300}"
