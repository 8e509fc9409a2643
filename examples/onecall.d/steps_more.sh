# The longer steps of examples/onecall. Sourced, not run.

own_ciphers() {
	local suite tag
	for suite in xchacha20-poly1305 nacl-secretbox; do
		tag=-$suite
		start_call 1 "$own" "$suite" "$tag"
		play 1 "$tag"
		arrived "$tag" || lost "$tag"
		stop_call "$tag"
		"$own" open --ring "$tmp/ring-receiver-1" --channel ABC --suite "$suite" -o "$tmp/opened$tag.rtpdump" "$tmp/call$tag.sealed.rtpdump" >"$tmp/open-recording$tag.log" 2>&1 ||
			broken "the recording sealed with $suite does not open" "open it with the program that knows the suite, and name it: --suite $suite" "$tmp/open-recording$tag.log"
		recorded_same "$tag" || broken "what comes out of the recording is not what was sent" "compare the counters: gateway seal, media network, gateway record" "$(log "record$tag")"
		holds "$suite: all $frames frames $same, and $(sed -n 's/^chanseal: opened .*: \(.*\)$/\1/p' "$tmp/open-recording$tag.log") from its recording"
	done
	chanseal open --ring "$tmp/ring-receiver-1" --channel ABC -o "$tmp/builtin.rtpdump" "$tmp/call$tag.sealed.rtpdump" >"$tmp/open-builtin.log" 2>&1 &&
		broken "chanseal without that cipher opens its recording" "that is a fault of chanseal: report it"
	"$own" bench --suite xchacha20-poly1305,aes-128-gcm --size 1200 --op seal,open --profile none --rounds 6 --time 2s --format csv >"$tmp/bench.csv" 2>"$tmp/bench.log"
	grep -q xchacha20-poly1305 "$tmp/bench.csv" || broken "bench does not know the cipher" "look at its log" "$tmp/bench.log"
	holds "bench examines and measures it beside the built-in ones"
}

doors() {
	local began
	# These wait by themselves: a service that ends, one that is renewed, one that is revoked.
	desk "$tmp/card-ends" ABC 777 --format dk4 --expires 4s && desk "$tmp/card-renews" ABC 778 --format dk4 --expires 5s && desk "$tmp/card-revoked" ABC 666 --expires 1h
	began=$(now)
	joining cloud ABC 777 "$tmp/card-ends" "$tmp/ring-ends" && begin join-ends "${command[@]}"
	joining cloud ABC 778 "$tmp/card-renews" "$tmp/ring-renews" && begin join-renews "${command[@]}"
	joining cloud ABC 666 "$tmp/card-revoked" "$tmp/ring-revoked" && begin join-revoked "${command[@]}"
	until_says join-renews "running;" "chanseal token verify gives the reason"
	desk "$tmp/card-renews" ABC 778 --format dk4 --expires 1h # the business server's next card
	until_says join-ends "running;" "chanseal token verify gives the reason"
	until_says join-revoked "running;" "chanseal token verify gives the reason"

	desk "$tmp/card-old" ABC 555 --format dk4 --issued-at -295s
	enter cloud ABC 555 "$tmp/card-old" "$tmp/ring-old" >"$tmp/join-old.log" 2>&1 && enter cloud ABC 555 "$tmp/card-old" "$tmp/ring-old" >>"$tmp/join-old.log" 2>&1 ||
		broken "no second entry within the five minutes" "chanseal token verify gives the reason; compare the clocks" "$tmp/join-old.log"
	desk "$tmp/card-older" ABC 555 --format dk4 --issued-at -301s
	if enter cloud ABC 555 "$tmp/card-older" "$tmp/ring-old" >"$tmp/join-older.log" 2>&1; then broken "a card of 5:01 opened the door" "that is a fault of chanseal: report it"; fi
	grep -q entry-over "$tmp/join-older.log" || broken "a card of 5:01 is refused for another reason" "look at the log" "$tmp/join-older.log"
	holds "in and out and in again with one card, 4:55 after its issue; at 5:01 it is refused: entry-over"

	admin revoke --uid 666 --channel ABC --for 1h >"$tmp/revoke.log" 2>&1 || broken "nobody is revoked" "look at the log" "$tmp/revoke.log"
	status_of join-revoked 5 || broken "who was revoked is not put out" "look at the log" "$(log join-revoked)"
	[ "$status" = 3 ] || broken "who was revoked ends with status $status, not 3" "look at the log" "$(log join-revoked)"
	holds "a revoked member is put out at once: $(sed -n 's/.*error: //p' "$(log join-revoked)" | tail -n 1)"
	local tries
	for ((tries = 0; tries < 40; tries++)); do # the next epoch is active after the policy's delay
		chanseal seal --ring "$tmp/ring-sender-1" --channel ABC --sender "${sender_number[1]}" --force -o "$tmp/after.sealed.mkv" "$here/../testdata/media/demo.webm" >"$tmp/seal-after.log" 2>&1 ||
			broken "the sender cannot seal any more" "look at the log" "$tmp/seal-after.log"
		chanseal open --ring "$tmp/ring-revoked" --channel ABC --force -o "$tmp/after-revoked.webm" "$tmp/after.sealed.mkv" >"$tmp/open-revoked.log" 2>&1
		[ $? = 3 ] && break
	done
	[ $tries -lt 40 ] || broken "who was revoked still opens what is sealed" "the channel has to be rotated: chanseal channel show, channel policy" "$tmp/open-revoked.log"
	chanseal open --ring "$tmp/ring-receiver-1" --channel ABC --force -o "$tmp/after.webm" "$tmp/after.sealed.mkv" >"$tmp/open-after.log" 2>&1 ||
		broken "who stayed does not open what follows" "is channel join still running?" "$tmp/open-after.log"
	holds "what follows does not open for them (exit status 3), and does for who stayed"

	status_of join-ends 10 || broken "whose service ended is still inside" "compare the clocks of desk and key server" "$(log join-ends)"
	[ "$status" = 3 ] && grep -q service-ended "$(log join-ends)" || broken "the end of service is not told" "look at the log" "$(log join-ends)"
	grep -q 109 "$(log join-ends)" || broken "the number 109 is not told" "look at the log" "$(log join-ends)"
	holds "at the end of service (4 s) out at once: $(sed -n 's/.*error: //p' "$(log join-ends)" | tail -n 1)"
	while [ $(($(now) - began)) -lt 6000 ]; do sleep 0.1; done
	lives join-renews || broken "whose card was renewed is out" "keep the card's file current: channel join reads it again" "$(log join-renews)"
	holds "a member whose card ended after 5 s is inside after $(tenths $(($(now) - began))) s: renewed with the next card, without leaving"

	# The secondary certificate: both verify; the desk changes to it; the primary one goes.
	local app primary secondary
	app=$(<"$tmp/app.json") primary=$(sed -n 's/.*"app_certificate": *"\([0-9a-f]*\)".*/\1/p' "$tmp/app.json") secondary=$(sed -n 's/.*"secondary_certificate": *"\([0-9a-f]*\)".*/\1/p' "$tmp/app.json")
	app=${app/$primary/@} app=${app/$secondary/$primary} # in bash: a program's arguments are seen by everybody
	printf '%s\n' "${app/@/$secondary}" >"$tmp/swapped.json"
	desk_app=$tmp/swapped.json desk "$tmp/card-secondary" ABC 333 --expires 1h
	enter cloud ABC 333 "$tmp/card-secondary" "$tmp/ring-secondary" >"$tmp/join-secondary.log" 2>&1 ||
		broken "a card of the secondary certificate is refused" "has the key server both? --app-certificate-file" "$tmp/join-secondary.log"
	sed '/"secondary_certificate"/d; s/\("app_certificate": *"[0-9a-f]*"\),/\1/' "$tmp/swapped.json" >"$tmp/only.json"
	# By now the business server has given everybody a card of the new one.
	desk_app=$tmp/only.json desk "$tmp/card-sender-1" ABC 123 --expires 1h && desk_app=$tmp/only.json desk "$tmp/card-receiver-1" ABC 456 --expires 1h
	end key-server
	serve "$tmp/only.json"
	desk "$tmp/card-primary" ABC 334 --expires 1h
	if enter cloud ABC 334 "$tmp/card-primary" "$tmp/ring-primary" >"$tmp/join-primary.log" 2>&1; then broken "a card of the withdrawn certificate opened the door" "that is a fault of chanseal: report it"; fi
	desk_app=$tmp/only.json desk "$tmp/card-secondary" ABC 333 --expires 1h
	enter cloud ABC 333 "$tmp/card-secondary" "$tmp/ring-secondary" >>"$tmp/join-secondary.log" 2>&1 || broken "a card of the new certificate is refused" "look at the log" "$tmp/join-secondary.log"
	holds "the secondary certificate takes over: its cards enter, and after the first one was withdrawn only they do $(grep -o '([a-z-]*, [0-9]*)' "$tmp/join-primary.log" | tail -n 1)"
	until_says join-sender-1 "is back" "look at the log" && until_says join-receiver-1 "is back" "look at the log"
	holds "the key server was started anew meanwhile: members who were inside came back by themselves"
}

# search_files looks through all that was said, captured and kept: not through what the far
# end has and what goes into gateway seal, which are in clear.
search_files() {
	local i files=() found
	cp "$tmp/audit.log" "$tmp/audit.record"
	for i in "$tmp"/*.log "$tmp/audit.record" "$tmp"/*.sealed.rtpdump "$tmp"/*.captured; do
		case ${i##*/} in plain.captured) ;; end-*.log) ;; *) files+=("$i") ;; esac
	done
	found=$("$tool" search -patterns "$tmp/patterns" "${files[@]}" 2>"$tmp/search-files.txt") || broken "a secret or a plain frame lies open" "that is a fault of chanseal: report it" "$tmp/search-files.txt"
	holds "${#files[@]} logs, captures and recordings, the audit record: none of it (${found#* in })"
}

search_all() {
	local i found
	for ((i = 1; i <= calls; i++)); do
		end "join-sender-$i" "join-receiver-$i" "witness-$i"
		cat "$tmp/secrets-$i" >>"$tmp/patterns"
	done
	sort -u -o "$tmp/patterns" "$tmp/patterns"
	end join-renews key-server
	chanseal audit verify "$tmp/audit.log" >"$tmp/verify-audit.log" 2>&1 || broken "the audit record does not verify" "compare it with a copy: it says from which line on" "$tmp/verify-audit.log"
	holds "audit record: $(head -n 1 "$tmp/verify-audit.log"), each bound to those before it"
	cp "$tmp/audit.log.head" "$tmp/forged.log.head" && sed '3s/[0-9]Z"/Z"/; 3s/"event":"[a-z]*/&x/' "$tmp/audit.log" >"$tmp/forged.log"
	cmp -s "$tmp/audit.log" "$tmp/forged.log" && broken "the audit record was not altered for the trial" "that is a fault of this script: report it"
	if chanseal audit verify "$tmp/forged.log" >"$tmp/verify-forged.log" 2>&1; then broken "a forged audit record verifies" "that is a fault of chanseal: report it"; fi
	rm -f "$tmp/forged.log" "$tmp/forged.log.head"

	if [ -n "${pids[capture-cloud]:-}" ]; then
		end capture-firewall capture-cloud capture-plain
		for i in firewall cloud plain; do
			grep -q '^[1-9][0-9]* frames, 0 lost$' "$(log "capture-$i")" || broken "the capture $i does not hold all that passed" "when the machine has less to do, it does" "$(log "capture-$i")"
		done
	fi
	local secrets plain cards
	secrets=$(grep -c '^secret' "$tmp/patterns") plain=$(grep -c '^plaintext' "$tmp/patterns") cards=$(grep -vc '^secret\|^plaintext' "$tmp/patterns")
	say "searched for: $secrets secrets of epochs, $plain pieces of plain frames, $cards cards, certificates, tokens and keys; as they are, in hexadecimal, in base64"
	# The proxy: it must know the certificates, and is shown cards. That is what shows that the search works.
	if lives proxy && "$tool" search -patterns "$tmp/patterns" -only certificate -find -pid "${pids[proxy]}" >"$tmp/search-control.log" 2>&1; then
		for i in secret plaintext key token; do
			found=$("$tool" search -patterns "$tmp/patterns" -only "$i" -pid "${pids[proxy]}" 2>"$tmp/search-proxy.log") || broken "the proxy's memory holds a $i" "that is a fault of chanseal: report it" "$tmp/search-proxy.log"
		done
		holds "the proxy's memory: no secret, no plain frame, no key (${found#* in }); the same search finds the certificates, which it must have"
	else
		note "the proxy's memory cannot be searched here: $(tail -n 1 "$tmp/search-control.log")"
	fi
	end proxy
	search_files
	local sealed=("$tmp"/media-*.captured)
	"$tool" patterns -name sealed "${sealed[0]}" >"$tmp/patterns.sealed" && [ ! -e "$tmp/firewall.captured" ] || "$tool" search -patterns "$tmp/patterns.sealed" -find "$tmp/firewall.captured" >>"$tmp/search-control.txt" 2>&1 ||
		note "the capture at the firewall does not show sealed frames as they are: the proxy was reached over TLS"
	if [ -e "$tmp/plain.captured" ]; then
		"$tool" search -patterns "$tmp/patterns" -only plaintext -find "$tmp/plain.captured" >>"$tmp/search-control.txt" 2>&1 || broken "the search finds no plain frame where ffmpeg sent them" "the search does not work: report it" "$tmp/search-control.txt"
		holds "the same search finds plain frames in front of gateway seal, where they must be"
	fi
	say "cost of a stream: $cost"
	! $short || return 0
	chanseal bench --suite aes-128-gcm --size 1200 --op seal --profile 1080p30 --rounds 6 --time 2s >"$tmp/bench-cost.log" 2>&1
	local streams
	streams=$(sed -n '/streams/,$p' "$tmp/bench-cost.log" | sed -n 's/^ *aes-128-gcm .* \([0-9,.]*\)$/\1/p' | head -n 1)
	[ -z "$streams" ] || say "by bench one core seals so many streams of 1080p30: $streams"
}
