# The steps of examples/onecall. Sourced, not run.

build() {
	mkdir "$tmp/bin" && cd "$here/.." || exit 1
	if [ -n "$bin" ]; then
		ln -s "$bin/chanseal" "$bin/customcipher" "$bin/onecall.d" "$tmp/bin/" || exit 1
	else
		go build -o "$tmp/bin" ./cmd/chanseal ./examples/customcipher ./examples/onecall.d ||
			broken "it does not build" "go version says which Go this is; go.mod says which is needed"
	fi
	cd "$tmp" || exit 1
	mv bin/onecall.d bin/calltool
	tool=$tmp/bin/calltool own=$tmp/bin/customcipher
	PATH=$tmp/bin:$PATH
	unset "${!CHANSEAL_@}" # what is set for the program elsewhere
	holds "$(chanseal version | head -n 1)"
	choose_source
}

cards() {
	local id f
	id=$(chanseal token app create -q -o "$tmp/app.json") || broken "no project" "is $tmp writable?"
	desk_app=$tmp/app.json
	for f in dk1 dk2 dk3 dk4 dk5 006 007; do
		desk "$tmp/card-$f" ABC 123 --format "$f" || broken "no card of generation $f" "look at the log" "$tmp/desk.log"
		chanseal token verify --app-certificate-file "$tmp/app.json" --channel ABC --uid 123 - <"$tmp/card-$f" >"$tmp/verify-$f.log" 2>&1 && grep -q '"accepted":true' "$tmp/verify-$f.log" ||
			broken "the card of generation $f is refused" "chanseal token inspect shows what it says" "$tmp/verify-$f.log"
	done
	sed -n 's/.*"\(app\|secondary\)_certificate": *"\([0-9a-f]*\)".*/certificate \1\t\2/p' "$tmp/app.json" >>"$tmp/patterns"
	[ "$(grep -c ^certificate "$tmp/patterns")" = 2 ] || broken "the project has not two certificates" "make it anew: chanseal token app create"
	for f in dk1 dk2 dk3 dk4 dk5 006 007; do "$tool" patterns -whole -name "card $f" "$tmp/card-$f" >>"$tmp/patterns"; done
	holds "App ID $id, two certificates in a file that only its owner reads"
	holds "a card for user 123 and channel ABC in each of 7 generations: dk1 to dk5, 006, 007; each verifies"
}

# etcd_member begins member $1 of the cluster.
etcd_member() {
	local i=$1 all
	all="a=http://$at_cloud:${port_peer[0]},b=http://$at_cloud:${port_peer[1]},c=http://$at_cloud:${port_peer[2]}"
	local names=(a b c)
	begin "etcd-${names[i]}" "${cloud[@]}" "$etcd_program" --name "${names[i]}" --data-dir "$tmp/etcd-${names[i]}" --log-level error --cert-file "$tmp/cert.pem" --key-file "$tmp/key.pem" \
		--listen-client-urls "https://$at_cloud:${port_etcd[i]}" --advertise-client-urls "https://$at_cloud:${port_etcd[i]}" \
		--listen-peer-urls "http://$at_cloud:${port_peer[i]}" --initial-advertise-peer-urls "http://$at_cloud:${port_peer[i]}" --initial-cluster "$all"
}

# on_ring runs a command on the key server's ring, where the key server is.
on_ring() { "${cloud[@]}" chanseal "$@" --ring "$ring" --key-file "$tmp/ring.key"; }

# admin asks the key server, as the operator.
admin() {
	"${cloud[@]}" chanseal serve admin "$@" --server "https://$at_cloud:$port_admin" --ca "$tmp/ca.pem" --token-file "$tmp/operator.token" --tls-certificate "$tmp/operator.pem" --tls-key "$tmp/operator.key"
}

key_server() {
	local i names=(a b c)
	"$tool" certificates "$tmp" "$at_cloud" "$at_proxy" || broken "no TLS certificates" "look above"
	ring=$tmp/ring
	if $etcd; then
		etcd_program=$(command -v etcd)
		if [ -z "$etcd_program" ]; then
			(cd "$here/.." && go build -o "$tmp/bin/etcd" go.etcd.io/etcd/server/v3) || broken "no etcd, and none can be built" "install etcd, or leave --etcd out"
			etcd_program=$tmp/bin/etcd
		fi
		for i in 0 1 2; do etcd_member $i; done
		ring="etcd://$at_cloud:${port_etcd[0]},$at_cloud:${port_etcd[1]},$at_cloud:${port_etcd[2]}/onecall?timeout=3s&ca=$tmp/ca.pem"
		for ((i = 0; i < 100; i++)); do on_ring ring show >/dev/null 2>"$tmp/etcd-try.log" || grep -q 'no ring' "$tmp/etcd-try.log" && break; done
	fi
	for ((i = 1; i <= calls; i++)); do
		names $i
		on_ring channel create "$channel" >>"$tmp/ring-made.log" 2>&1 && on_ring channel policy --activate-delay 1s --debounce 1s --stage-ahead "$channel" >>"$tmp/ring-made.log" 2>&1 ||
			broken "channel $channel cannot be made" "look at the log" "$tmp/ring-made.log"
	done
	on_ring serve admin person add olga --role operator --certificate "$tmp/operator.pem" >>"$tmp/ring-made.log" 2>&1 &&
		on_ring serve admin person token olga -o "$tmp/operator.token" >>"$tmp/ring-made.log" 2>&1 || broken "no operator" "look at the log" "$tmp/ring-made.log"
	"$tool" patterns -whole -name "token of the operator" "$tmp/operator.token" >>"$tmp/patterns"
	sed -n '/^AGE/p' "$tmp/ring.key" >"$tmp/one.key" && "$tool" patterns -whole -name "key of the ring" "$tmp/one.key" >>"$tmp/patterns"
	rm -f "$tmp/one.key"
	serve "$tmp/app.json"
	if $etcd; then holds "three etcd processes keep the ring, sealed"; fi
	holds "a key server with its Gate, at https://$at_cloud:$port_keys (TLS 1.3, its certificate checked by an authority)"
}

serve() {
	begin key-server "${cloud[@]}" chanseal serve --ring "$ring" --key-file "$tmp/ring.key" --app-certificate-file "$1" --tls-certificate "$tmp/cert.pem" --tls-key "$tmp/key.pem" \
		--listen "$at_cloud:$port_keys" --admin-listen "$at_cloud:$port_admin" --metrics "127.0.0.1:$port_metrics" --audit "$tmp/audit.log"
	until_says key-server "running;" "is the port taken? is the ring there (chanseal ring show)?"
}

# joining is the command that enters channel $2 as $3 with card $4 and ring $5, on the side
# $1; enter runs it, out again once the keys are there.
joining() {
	[ "$1" = cloud ] && command=("${cloud[@]}") || command=("${customer[@]}")
	command+=(chanseal channel join "$2" --ring "$5" --server "https://$at_cloud:$port_keys" --ca "$tmp/ca.pem" --uid "$3" --card-file "$4")
}
enter() { joining "$@" && "${command[@]}" --once; }

members() {
	local f i
	for f in dk1 dk2 dk3 dk4 dk5 006 007; do
		enter cloud ABC 123 "$tmp/card-$f" "$tmp/ring-$f" >"$tmp/join-$f.log" 2>&1 ||
			broken "no entry with a card of generation $f" "chanseal token verify gives the reason" "$tmp/join-$f.log"
		rm -rf "$tmp/ring-$f"
	done
	holds "user 123 entered and left with each of the 7 generations"
	declare -ga sender_number=()
	local card=()
	case $fault in
	wrong-card) card=(XYZ 123) ;; # for another channel
	wrong-certificate)
		chanseal token app create -q -o "$tmp/other.json" >/dev/null
		sed "s/\"app_id\": *\"[0-9a-f]*\"/$(grep -o '"app_id": *"[0-9a-f]*"' "$tmp/app.json")/" "$tmp/other.json" >"$tmp/mixed.json"
		desk_app=$tmp/mixed.json
		;;
	clock-10-minutes)
		desk "$tmp/card-behind" ABC 123 --format dk4 --issued-at -10m
		if enter customer ABC 123 "$tmp/card-behind" "$tmp/ring-behind" >"$tmp/join-behind.log" 2>&1; then broken "a dk4 of a desk that is 10 minutes behind was let in" "that is a fault of chanseal: report it"; fi
		note "a desk whose clock is 10 minutes behind: $(grep -h 'error:' "$tmp/join-behind.log" | tail -n 1)"
		note "$(grep -h 'hint:' "$tmp/join-behind.log" | tail -n 1)"
		;;
	esac
	for ((i = 1; i <= calls; i++)); do
		names $i
		local skewed=()
		[ "$fault" != clock-10-minutes ] || skewed=(--issued-at 10m)
		desk "$tmp/card-sender-$i" "${card[0]:-$channel}" "$sender_uid" --expires 1h "${skewed[@]}" && desk_app=$tmp/app.json desk "$tmp/card-receiver-$i" "$channel" "$receiver_uid" --expires 1h &&
			desk_app=$tmp/app.json desk "$tmp/card-proxy-$i" "$channel" "$sender_uid" --expires 1h && desk_app=$tmp/app.json desk "$tmp/card-witness-$i" "$channel" "9$i" --expires 1h ||
			broken "no cards" "look at the log" "$tmp/desk.log"
		begin "witness-$i" "${cloud[@]}" "$tool" witness -server "https://$at_cloud:$port_keys" -ca "$tmp/ca.pem" -channel "$channel" -uid "9$i" -card "$tmp/card-witness-$i" -o "$tmp/secrets-$i"
		joining cloud "$channel" "$receiver_uid" "$tmp/card-receiver-$i" "$tmp/ring-receiver-$i" && begin "join-receiver-$i" "${command[@]}"
		joining customer "$channel" "$sender_uid" "$tmp/card-sender-$i" "$tmp/ring-sender-$i" && begin "join-sender-$i" "${command[@]}"
	done
	desk_app=$tmp/app.json
	for ((i = 1; i <= calls; i++)); do
		until_says "join-sender-$i" "running;" "chanseal token verify --app-certificate-file app.json --channel ABC --uid 123 TOKEN gives the reason; compare the desk's clock and certificate with the key server's"
		until_says "join-receiver-$i" "running;" "chanseal token verify gives the reason"
		until_says "witness-$i" running "look at its log"
		sender_number[i]=$(sed -n 's/.*seal under sender number \([0-9]*\).*/\1/p' "$(log "join-sender-$i")")
		"$tool" patterns -whole -name "card of a sender" "$tmp/card-sender-$i" >>"$tmp/patterns"
		"$tool" patterns -whole -name "card of a receiver" "$tmp/card-receiver-$i" >>"$tmp/patterns"
	done
	names 1
	local a b tries
	for ((tries = 0; tries < 50; tries++)); do # who left before has the channel turn, and members follow
		a=$(chanseal channel show --ring "$tmp/ring-sender-1" --json ABC | grep -o '"fingerprint": *"[^"]*"') b=$(on_ring channel show --json ABC | grep -o '"fingerprint": *"[^"]*"')
		[ -n "$a" ] && [ "$a" = "$b" ] && break
		sleep 0.1
	done
	[ $tries -lt 50 ] || broken "the sender's key is not the key server's" "compare the fingerprints of channel show at both ends" "$(log join-sender-1)"
	holds "sender and receiver are in; their rings have the key server's keys, which came wrapped to keys of their own"
}

proxy_and_firewall() {
	local media=() i
	for ((i = 1; i <= calls; i++)); do
		names $i
		media+=("$at_cloud:$port_media-$((port_media + 1))")
	done
	media_list=$(IFS=, && printf '%s' "${media[*]}")
	start_proxy
	through_proxy=(--cloud-proxy=auto --proxy-type 2 --proxy-server "$at_proxy:$port_control" --proxy-ca "$tmp/ca.pem")
	holds "the cloud proxy relays to the media network and nowhere else"
	$namespaces || { note "no firewall: that takes namespaces"; return; }
	"${cloud[@]}" chanseal proxy allowlist --public "$at_proxy" --control-ports "$port_control" --media-ports "$port_turn" --edge-ports "$port_edge" --tls-ports "$port_tls" --socks-ports none \
		--source 10.78.1.0/24 --format nftables >"$tmp/firewall.nft" || broken "no allow-list" "chanseal proxy allowlist --help"
	# The company lets its members reach the key server, too.
	printf 'add rule inet chanseal_proxy allowed ip daddr %s tcp dport %d accept\n' "$at_cloud" "$port_keys" >>"$tmp/firewall.nft"
	"${firewall[@]}" nft -f "$tmp/firewall.nft" 2>"$tmp/nft.log" || broken "nft does not take the rules" "does this kernel have nf_tables and conntrack?" "$tmp/nft.log"
	holds "the firewall lets out $(grep -c 'daddr' "$tmp/firewall.nft") kinds of traffic and drops all else; its rules are the proxy's own allow-list"
	begin capture-firewall "${firewall[@]}" "$tool" capture -o "$tmp/firewall.captured" inside outside
	begin capture-cloud "${cloud[@]}" "$tool" capture -o "$tmp/cloud.captured" eth0
	begin capture-plain "${customer[@]}" "$tool" capture -o "$tmp/plain.captured" lo
	for i in firewall cloud plain; do until_says "capture-$i" running "capturing takes CAP_NET_RAW; leave it out with --loopback"; done
}

# direct_path: that the firewall lets nothing by beside the proxy. What comes from its own side the receiver does
# count; it comes last, so that by then all else has been.
direct_path() {
	names 1
	local clip=$here/../testdata/media/demo.webm sent control passed tries
	begin direct "${cloud[@]}" "$tool" media -listen "$at_cloud:$port_media" -packets "$tmp/packets-direct"
	begin direct-seal "${customer[@]}" chanseal gateway seal --ring "$tmp/ring-sender-1" --channel ABC --sender "${sender_number[1]}" --listen "127.0.0.1:$port_in" --to "$at_cloud:$port_media"
	until_says direct running "is the port taken?"
	until_says direct-seal running "is the port taken?"
	"${customer[@]}" "$tool" send -speed 30 -to "127.0.0.1:$port_in" "$clip" >"$tmp/direct-source.log" 2>&1
	end direct-seal
	sent=$(sed -n 's/^chanseal: .* in, \([0-9]*\) out.*/\1/p' "$(log direct-seal)")
	[ "${sent:-0}" -gt 0 ] || broken "gateway seal sent nothing that the firewall could drop" "look at its log" "$(log direct-seal)"
	"${cloud[@]}" "$tool" send -speed 30 -to "$at_cloud:$port_media" "$clip" >"$tmp/direct-control.log" 2>&1
	control=$(sed -n 's/.* frames in \([0-9]*\) packets$/\1/p' "$tmp/direct-control.log")
	for ((tries = 0; tries < 100; tries++)); do
		[ "$(wc -l <"$tmp/packets-direct")" -lt "${control:-1}" ] || break
		sleep 0.05
	done
	end direct
	passed=$(sed -n 's/^\([0-9]*\) passed.*/\1/p' "$(log direct)")
	[ "${passed:-0}" -gt 0 ] || broken "what is sent beside the firewall does not come to the media network either" "that is a fault of this script: report it" "$tmp/direct-control.log"
	[ "$passed" -le "$control" ] || broken "sealed packets passed the firewall directly: $((passed - control)) of $sent" "the rules have to drop by default: nft list ruleset" "$(log direct-seal)"
	holds "directly nothing passes: none of the $sent packets that gateway seal sent came to the media network; $passed from this side of the firewall did"
}

start_proxy() {
	begin proxy "${cloud[@]}" chanseal proxy --app-certificate-file "$tmp/app.json" --listen-address "$at_proxy" --public "$at_proxy" --relay-address "$at_proxy" --media "$media_list" \
		--control-ports "$port_control" --media-ports "$port_turn" --edge-ports "$port_edge" --tls-ports "$port_tls" --socks-ports none \
		--tls-certificate "$tmp/cert.pem" --tls-key "$tmp/key.pem" --drain-time 1s
	until_says proxy "listening for media" "is a port taken? ports below 1024 are for root"
}

call_all() {
	local i before after began
	! $namespaces || direct_path
	for ((i = 1; i <= calls; i++)); do start_call $i chanseal "" "-$i"; done
	holds "$(grep -h 'cloud proxy:' "$(log seal-1)" | sed 's/^chanseal: //' | tail -n 1)"
	before=$(cpu_ms "${pids[seal-1]}") began=$(now)
	for ((i = 1; i <= calls; i++)); do play $i "-$i"; done
	for ((i = 1; i <= calls; i++)); do flows "-$i"; done
	case $fault in
	proxy-killed) kill_hard proxy && note "the cloud proxy is killed" && sleep 1 && start_proxy && note "and started again" ;;
	key-server-killed) key_server_killed ;;
	etcd-killed) kill_hard etcd-a && note "a member of the etcd cluster is killed" ;;
	esac
	for ((i = 1; i <= calls; i++)); do
		names $i
		admin rotate "$channel" >>"$tmp/rotate.log" 2>&1 || broken "channel $channel cannot be rotated" "is the key server up, and its ring (chanseal ring show)?" "$tmp/rotate.log"
	done
	for ((i = 1; i <= calls; i++)); do
		arrived "-$i" || lost "-$i"
		stop_call_later+=("-$i")
	done
	after=$(cpu_ms "${pids[seal-1]}")
	cost="$((after - before)) ms of a core for $(tenths $(($(now) - began))) s of the call: sealing, key changes, and the way through the proxy"
	[ "$fault" != etcd-killed ] || etcd_killed
	for i in "${stop_call_later[@]}"; do stop_call "$i"; done
	if [ "$calls" = 1 ]; then holds "all $frames frames arrived, and are the source's $same ($source_text → gateway seal → proxy → gateway open → $far_end)"; else
		holds "$calls calls at once: all $frames frames of each arrived, and are the source's $same"; fi
	local seen
	seen=$("$tool" epochs "$tmp/call-1.sealed.rtpdump")
	if [ "$(wc -w <<<"$seen")" -ge 2 ]; then holds "rotated in the middle: packets under each epoch $seen; none was lost"; else note "the clip ended before the new epoch was active: take a longer one"; fi
}
stop_call_later=()

# key_server_killed: what a person sees while it is gone, and that the call does not care.
key_server_killed() {
	kill_hard key-server
	note "the key server is killed; the call goes on with the keys that members have"
	if enter customer ABC 123 "$tmp/card-007" "$tmp/ring-newcomer" >"$tmp/join-newcomer.log" 2>&1; then broken "somebody entered without a key server" "that is a fault of chanseal: report it"; fi
	note "a newcomer: $(grep -h 'error:' "$tmp/join-newcomer.log" | tail -n 1 | cut -c 1-220)"
	note "$(grep -h 'hint:' "$tmp/join-newcomer.log" | tail -n 1)"
	note "a member: $(grep -h WARN "$(log join-sender-1)" | tail -n 1 | cut -c 1-220)"
	serve "$tmp/app.json"
	note "the key server is started again: members come back by themselves, without a card"
}

# etcd_killed: one of three may go; without two nothing is written, and it says so.
etcd_killed() {
	note "with two members of three everything went on, the rotation included"
	kill_hard etcd-b
	if on_ring channel rotate ABC >"$tmp/rotate-alone.log" 2>&1; then broken "one member of three took a write" "that is a fault of etcd"; fi
	note "with one member: $(grep -h 'error:' "$tmp/rotate-alone.log" | tail -n 1 | cut -c 1-220)"
	note "$(grep -h 'hint:' "$tmp/rotate-alone.log" | tail -n 1)"
	etcd_member 0
	etcd_member 1
	local tries
	for ((tries = 0; tries < 10; tries++)); do on_ring channel rotate ABC >"$tmp/rotate-again.log" 2>&1 && break; done
	[ $tries -lt 10 ] || broken "the ring does not come back" "etcdctl endpoint status shows the members" "$tmp/rotate-again.log"
	note "the members are started again: the ring takes writes"
}

opened_recording() {
	local i ext
	for ((i = 1; i <= calls; i++)); do
		names $i
		chanseal open --ring "$tmp/ring-receiver-$i" --channel "$channel" --force -o "$tmp/opened-$i.rtpdump" "$tmp/call-$i.sealed.rtpdump" >"$tmp/open-recording-$i.log" 2>&1 ||
			broken "the recording does not open" "the ring needs all epochs of the call: chanseal channel show" "$tmp/open-recording-$i.log"
		recorded_same "-$i" || broken "what comes out of the recording is not what was sent" "compare the counters: gateway seal, media network, gateway record" "$(log "record-$i")"
	done
	holds "$(sed -n 's/^chanseal: opened .*: \(.*\)$/\1/p' "$tmp/open-recording-1.log") came out of it, of $(sed -n 's/^chanseal: \(.* kept\).*/\1/p' "$(log record-1)"): those that were sent, and no other"
	chanseal channel create -q --ring "$tmp/ring-stranger" ABC >/dev/null 2>&1
	chanseal open --ring "$tmp/ring-stranger" --channel ABC -o "$tmp/stranger.rtpdump" "$tmp/call-1.sealed.rtpdump" >"$tmp/open-stranger.log" 2>&1
	[ $? = 3 ] || broken "a stranger's ring with a channel ABC of its own opens the recording" "that is a fault of chanseal: report it"
	holds "a ring with another channel ABC opens nothing of it (exit status 3)"
}
