# One call of examples/onecall: who takes part, in which order they begin, and whether what
# arrived is what was sent. Sourced, not run.

# channel, sender and receiver of call number $1, and its ports.
names() {
	channel=ABC sender_uid=123 receiver_uid=456
	[ "$1" = 1 ] || channel=ABC-$1 sender_uid=$((1000 + $1)) receiver_uid=$((2000 + $1))
	local p=("${ports_call[@]:7*($1-1):7}")
	port_in=${p[0]} port_media=${p[1]} port_open=${p[2]} port_record=${p[3]} port_end=${p[4]} port_tap=${p[5]} port_file=${p[6]}
}

# choose_source finds out how the clip is sent: by ffmpeg, if it can, else by our own.
choose_source() {
	ffmpeg=false
	if command -v ffmpeg >/dev/null && [ -r /proc/net/udp ]; then
		local kind
		for kind in v a; do
			if ffmpeg -nostdin -v error -i "$clip" -map "0:$kind:0" -c copy -strict experimental -t 0 -f rtp -sdp_file "$tmp/probe.sdp" rtp://127.0.0.1:9 2>>"$tmp/ffmpeg-probe.log"; then
				ffmpeg=true stream=$kind:0
				break
			fi
			# A picture that it cannot send is a case for the other source, not for the sound.
			ffmpeg -nostdin -v error -i "$clip" -map "0:$kind:0" -c copy -t 0 -f null - 2>/dev/null && break
		done
	fi
	if $ffmpeg; then
		hashes "$clip" copy >"$tmp/sent"
		ffmpeg -nostdin -v error -i "$clip" -map "0:$stream" -c copy -f data - 2>/dev/null >"$tmp/plain.raw"
		source_text="ffmpeg"
	else
		read -r codec frames < <("$tool" frames -codec "$clip" 2>"$tmp/clip.log") ||
			broken "the clip cannot be sent: $(tail -n 1 "$tmp/clip.log")" "install ffmpeg, or take a clip of VP8, VP9, AV1, H.264, H.265 or Opus in Matroska or WebM"
		"$tool" frames "$clip" >"$tmp/sent"
		"$tool" frames -raw "$clip" >"$tmp/plain.raw"
		source_text="a sender of our own ($codec)"
	fi
	frames=$(wc -l <"$tmp/sent")
	[ "$frames" -gt 0 ] || broken "the clip has no frames" "take another one"
	"$tool" patterns "$tmp/plain.raw" >>"$tmp/patterns" || broken "the clip shows nothing to search for" "take one with more in it"
	rm -f "$tmp/plain.raw"
}

# hashes prints a hash of each frame of a recording: as they are, or decoded.
hashes() {
	local how=(-c copy)
	[ "$2" = copy ] || how=()
	ffmpeg -nostdin -v error -i "$1" -map "0:$stream" "${how[@]}" -f framehash - 2>/dev/null | sed -n '/^#/d; s/.*, *//p'
}

# ready waits until somebody listens at a UDP port of the cloud's side.
ready() {
	local tries hex
	hex=$(printf ':%04X ' "$2")
	for ((tries = 0; tries < 200; tries++)); do
		"${cloud[@]}" grep -qi -- "$hex" /proc/net/udp && return
		lives "$1" || break
		sleep 0.05
	done
	broken "nobody receives at the far end" "look at its log" "$(log "$1")"
}

through_proxy=()
# start_call begins everything of call $1, with program $2 and suite $3 at both ends; $4
# tells its files from those of other calls.
start_call() {
	local i=$1 program=$2 suite=$3 tag=$4 s=()
	[ -z "$suite" ] || s=(--suite "$suite")
	names "$i"
	begin "record$tag" "${cloud[@]}" "$program" gateway record --listen "$at_cloud:$port_record" -o "$tmp/call$tag.sealed.rtpdump"
	begin "open$tag" "${cloud[@]}" "$program" gateway open --ring "$tmp/ring-receiver-$i" --channel "$channel" --listen "$at_cloud:$port_open" --to "127.0.0.1:$port_end" "${s[@]}"
	local loss=()
	[ "$fault" != loss-5 ] || loss=(-loss 5)
	begin "media$tag" "${cloud[@]}" "$tool" media -listen "$at_cloud:$port_media" -to "$at_cloud:$port_open,$at_cloud:$port_record" -capture "$tmp/media$tag.captured" "${loss[@]}"
	if $ffmpeg; then
		ffmpeg -nostdin -v error -i "$clip" -map "0:$stream" -c copy -strict experimental -t 0 -f rtp -sdp_file "$tmp/call$tag.sdp" "rtp://127.0.0.1:$port_file" 2>>"$tmp/ffmpeg-probe.log"
		# Both ends are listened to in clear: whatever ffmpeg makes of it, each packet can be compared.
		begin "tap-in$tag" "${customer[@]}" "$tool" media -listen "127.0.0.1:$port_tap" -to "127.0.0.1:$port_in" -packets "$tmp/packets-in$tag"
		begin "tap-out$tag" "${cloud[@]}" "$tool" media -listen "127.0.0.1:$port_end" -to "127.0.0.1:$port_file" -packets "$tmp/packets-out$tag"
		until_says "tap-in$tag" running "is the port taken?"
		until_says "tap-out$tag" running "is the port taken?"
		begin "end$tag" "${cloud[@]}" ffmpeg -nostdin -v error -protocol_whitelist file,udp,rtp -i "$tmp/call$tag.sdp" -map 0 -c copy "-frames:${stream%%:*}" "$frames" "$tmp/call$tag.$(container)"
		ready "end$tag" "$port_file"
	else
		begin "end$tag" "${cloud[@]}" "$tool" receive -listen "127.0.0.1:$port_end" -codec "$codec" -frames "$frames"
		until_says "end$tag" running "is the port taken?"
	fi
	until_says "record$tag" running "is the port taken?"
	until_says "open$tag" running "the receiver's ring has to hold the channel: see how members enter"
	until_says "media$tag" running "is the port taken?"
	begin "seal$tag" "${customer[@]}" "$program" gateway seal --ring "$tmp/ring-sender-$i" --channel "$channel" --sender "${sender_number[i]}" \
		--listen "127.0.0.1:$port_in" --to "$at_cloud:$port_media" "${s[@]}" "${through_proxy[@]}" --proxy-channel "$channel" --proxy-uid "$sender_uid" --proxy-card-file "$tmp/card-proxy-$i"
	until_says "seal$tag" running "chanseal proxy check --server $at_proxy:$port_control says what the firewall lets through; is the proxy up?"
}

# container is a file name in which ffmpeg keeps what it gets without changing it.
container() {
	case $(sed -n 's/^a=rtpmap:[0-9]* \([^/]*\).*/\1/p' "$tmp/probe.sdp") in
	H264) printf h264 ;;
	H265) printf h265 ;;
	*) printf mkv ;;
	esac
}

# play sends the clip of call $1, at its own pace.
play() {
	local tag=$2
	names "$1"
	if $ffmpeg; then
		begin "source$tag" "${customer[@]}" ffmpeg -nostdin -v error -re -i "$clip" -map "0:$stream" -c copy -strict experimental -f rtp "rtp://127.0.0.1:$port_tap?pkt_size=1200"
	else
		begin "source$tag" "${customer[@]}" "$tool" send -to "127.0.0.1:$port_in" "$clip"
	fi
}

# arrived compares what came out at the far end with the source, and sets got and same.
arrived() {
	local tag=$1 tries alike=0 most=300
	[ -z "$fault" ] || most=60
	status_of "source$tag" 120 || broken "the source does not end" "take a shorter clip"
	if $ffmpeg && [ ! -s "$tmp/packets-in$tag" ]; then status=1; fi # it ends well, too, when it refused each frame
	[ "$status" = 0 ] || broken "the source cannot send this clip as RTP" "take another clip; its log says why" "$(log "source$tag")"
	# The far end ends by itself when all frames have come.
	for ((tries = 0; tries < most; tries++)); do
		lives "end$tag" || break
		if $ffmpeg; then packets_same "$tag" && alike=$((alike + 1)); fi
		[ $alike -lt 60 ] || break # all packets came; this ffmpeg does not know that it was all
		sleep 0.05
	done
	end "end$tag"
	same="frame for frame"
	if ! $ffmpeg; then
		sed '/^running$/d' "$(log "end$tag")" >"$tmp/got$tag"
		got=$(wc -l <"$tmp/got$tag")
		cmp -s "$tmp/sent" "$tmp/got$tag"
		return
	fi
	local rec=$tmp/call$tag.$(container)
	hashes "$rec" copy >"$tmp/got$tag"
	got=$(wc -l <"$tmp/got$tag")
	cmp -s "$tmp/sent" "$tmp/got$tag" && return
	# Containers wrap some codecs differently: then the pictures are compared.
	[ -s "$tmp/sent.decoded" ] || hashes "$clip" decoded >"$tmp/sent.decoded"
	hashes "$rec" decoded >"$tmp/got$tag.decoded"
	same="decoded frame for frame"
	[ -s "$tmp/sent.decoded" ] && cmp -s "$tmp/sent.decoded" "$tmp/got$tag.decoded" && return
	# Of others ffmpeg at the end of a stream makes other frames than it had in the file.
	same="packet for packet of RTP, $(wc -l <"$tmp/packets-in$tag")"
	packets_same "$tag"
}

# packets_same: every packet that ffmpeg sent came out at the far end, bit for bit.
packets_same() {
	[ -s "$tmp/packets-in$1" ] && cmp -s <(sort "$tmp/packets-in$1") <(sort "$tmp/packets-out$1")
}

stop_call() { end "source$1" "tap-in$1" "seal$1" "media$1" "open$1" "tap-out$1" "record$1"; }

# lost says where frames went, and what helps, and ends the run.
lost() {
	local tag=$1 text
	stop_call "$tag"
	text=$(tail -n 1 "$(log "media$tag")")
	case $fault in
	proxy-killed) broken "$got of $frames frames arrived: the cloud proxy was gone for a second" "start it again; give gateways two relays (--proxy-server IP1,IP2:PORT), so that they go on at the other one" "$(log "seal$tag")" ;;
	esac
	if [[ $text != *", 0 lost" ]]; then
		broken "$got of $frames frames arrived whole: the media network lost packets ($text)" "chanseal proxy check measures the loss on the way to the proxy (--cloud-proxy=tcp takes none there); beyond it the codec has to live with it: shorter packets, more keyframes, FEC" "$(log "open$tag")"
	fi
	broken "$got of $frames frames arrived ($text at the media network)" "compare the counters: gateway seal, media network, gateway open" "$(log "open$tag")"
}
