# One call of examples/onecall: who takes part, in which order they begin, and whether what
# arrived is what was sent. Sourced, not run.

# channel, sender and receiver of call number $1, and its ports.
names() {
	channel=ABC sender_uid=123 receiver_uid=456
	[ "$1" = 1 ] || channel=ABC-$1 sender_uid=$((1000 + $1)) receiver_uid=$((2000 + $1))
	local p=("${ports_call[@]:7*($1-1):7}")
	port_in=${p[0]} port_media=${p[1]} port_open=${p[2]} port_record=${p[3]} port_end=${p[4]} port_tap=${p[5]} port_file=${p[6]}
}

# choose_source finds out how the clip is sent: by ffmpeg, if it can, else by our own. What
# is in the clip stands in sent: a hash of each frame.
choose_source() {
	local kind has=false why
	ffmpeg=false picture=
	if command -v ffmpeg >/dev/null && [ -r /proc/net/udp ]; then
		has=true
		for kind in v a; do
			if ffmpeg -nostdin -v error -i "$clip" -map "0:$kind:0" -c copy -strict experimental -t 0 -f rtp -sdp_file "$tmp/probe.sdp" rtp://127.0.0.1:9 2>"$tmp/ffmpeg-$kind.log"; then
				ffmpeg=true stream=$kind:0
				break
			fi
			# A picture that it cannot send is a case for the other source, not for the sound.
			ffmpeg -nostdin -v error -i "$clip" -map "0:$kind:0" -c copy -t 0 -f null - 2>/dev/null && break
		done
	fi
	# VP9 is an experiment of ffmpeg's: its far end makes no file of a short clip.
	if $ffmpeg && [ "$(payload_of "$tmp/probe.sdp")" = VP9 ] && "$tool" frames -codec "$clip" >/dev/null 2>&1; then ffmpeg=false; fi
	if $ffmpeg; then
		case $(payload_of "$tmp/probe.sdp") in
		H264) picture=h264 ;;
		H265) picture=hevc ;;
		esac
		hashes "$clip" copy >"$tmp/sent"
		ffmpeg -nostdin -v error -i "$clip" -map "0:$stream" -c copy -f data - 2>/dev/null >"$tmp/plain.raw"
		[ -z "$picture" ] || ffmpeg -nostdin -v error -i "$clip" -map "0:$stream" -c copy -f $picture "$tmp/source.$picture" 2>>"$tmp/ffmpeg-probe.log"
		source_text="ffmpeg"
	elif read -r codec frames < <("$tool" frames -codec "$clip" 2>"$tmp/clip.log"); then
		"$tool" frames "$clip" >"$tmp/sent"
		"$tool" frames -raw "$clip" >"$tmp/plain.raw"
		source_text="a sender of our own ($codec)"
	elif $has; then
		why=$(grep -v 'matches no streams\|Conversion failed\|To ignore this' "$tmp"/ffmpeg-?.log -h | tail -n 1)
		[ -n "$why" ] || why="ffmpeg has no form of RTP for $(ffprobe -v error -show_entries stream=codec_name -of csv=p=0 "$clip" 2>/dev/null | paste -sd ,)"
		# What ffmpeg cannot decode it cannot encode anew either.
		if ! ffmpeg -nostdin -v error -i "$clip" -map 0:v:0? -map 0:a:0? -t 1 -f null - >/dev/null 2>&1; then
			broken "$(basename "$clip") cannot be sent as RTP: $why" "take a recording, one that ffplay plays; or make one: ffmpeg -f lavfi -i testsrc2=duration=5 -pix_fmt yuv420p clip.mkv && examples/onecall --clip clip.mkv"
		fi
		broken "$(basename "$clip") cannot be sent as RTP: $why" "this makes one that can: ffmpeg -i $(printf %q "$clip") -sn -c:v libx264 -pix_fmt yuv420p -c:a libopus clip.mkv && examples/onecall --clip clip.mkv"
	else
		broken "$(basename "$clip") cannot be sent without ffmpeg: $(sed 's/^calltool: //' "$tmp/clip.log" | tail -n 1)" "install ffmpeg, or take a clip of VP8, VP9, AV1, H.264, H.265 or Opus in Matroska, WebM, IVF, Ogg or as a byte stream"
	fi
	frames=$(wc -l <"$tmp/sent")
	[ "$frames" -gt 0 ] || broken "$(basename "$clip") has no frames" "take another clip: ffprobe FILE shows what is in one"
	"$tool" patterns "$tmp/plain.raw" >>"$tmp/patterns" || broken "$(basename "$clip") shows nothing to search for at the end" "take a clip with more in it, of some seconds"
	rm -f "$tmp/plain.raw"
	holds "$frames frames of $(basename "$clip") are sent by $source_text"
}

payload_of() { sed -n 's/^a=rtpmap:[0-9]* \([^/]*\).*/\1/p' "$1"; }

# hashes prints a hash of each frame of a recording: as they are, or decoded.
hashes() {
	local how=(-c copy)
	[ "$2" = copy ] || how=()
	ffmpeg -nostdin -v error -i "$1" -map "0:$stream" "${how[@]}" -f framehash - 2>/dev/null | awk -F ', *' '!/^#/ { print $6 }'
}

# whole prints a hash of all of a recording's bytes, however they are cut into frames.
whole() { ffmpeg -nostdin -v error -i "$1" -map "0:$stream" -c copy -f data - 2>/dev/null | cksum; }

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

# lock_file has another process lock a file until the end. (flock FILE COMMAND would run the command
# as a process of its own, with the lock, which nobody ends.)
lock_file() {
	begin other bash -c 'exec 9<"$0" && flock 9 && echo running && exec sleep 60' "$1"
	until_says other running "who holds the file?"
}

through_proxy=()
# start_call begins everything of call $1, with program $2 and suite $3 at both ends; $4
# tells its files from those of other calls.
start_call() {
	local i=$1 program=$2 suite=$3 tag=$4 s=()
	[ -z "$suite" ] || s=(--suite "$suite")
	names "$i"
	local recorded=("$tmp/call$tag.sealed.rtpdump")
	case $fault in
	disk-full) recorded=(/dev/full --force) ;; # which takes nothing
	port-taken)
		begin other "${cloud[@]}" "$tool" media -listen "$at_cloud:$port_open"
		until_says other running "is the port taken?"
		;;
	ring-locked)
		lock_file "$tmp/ring-receiver-$i/ring.db"
		;;
	esac
	begin "record$tag" "${cloud[@]}" "$program" gateway record --listen "$at_cloud:$port_record" -o "${recorded[@]}"
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
		local filter=() limit=()
		# Others have fewer or more frames in RTP than in a file; then the end is when all came.
		case $stream,$(payload_of "$tmp/probe.sdp") in v:* | *,opus) limit=("-frames:${stream%%:*}" "$frames") ;; esac
		[ -z "$picture" ] || filter=(-bsf:v dump_extra) # parameter sets from the session's description
		begin "end$tag" "${cloud[@]}" ffmpeg -nostdin -v error -protocol_whitelist file,udp,rtp -i "$tmp/call$tag.sdp" -map 0 -c copy "${filter[@]}" "${limit[@]}" "$tmp/call$tag.${picture:-mkv}"
		ready "end$tag" "$port_file"
	else
		begin "end$tag" "${cloud[@]}" "$tool" receive -listen "127.0.0.1:$port_end" -codec "$codec" -frames "$frames"
		until_says "end$tag" running "is the port taken?"
	fi
	until_says "record$tag" running "the recorder needs a port of its own, and a file that it can write"
	until_says "open$tag" running "gateway open needs the receiver's ring with the channel in it, and a port of its own"
	until_says "media$tag" running "is the port taken?"
	begin "seal$tag" "${customer[@]}" "$program" gateway seal --ring "$tmp/ring-sender-$i" --channel "$channel" --sender "${sender_number[i]}" \
		--listen "127.0.0.1:$port_in" --to "$at_cloud:$port_media" "${s[@]}" "${through_proxy[@]}" --proxy-channel "$channel" --proxy-uid "$sender_uid" --proxy-card-file "$tmp/card-proxy-$i"
	until_says "seal$tag" running "chanseal proxy check --server $at_proxy:$port_control says what the firewall lets through; is the proxy up?"
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
	local tag=$1 tries alike=0 most=300 name
	[ -z "$fault" ] || most=60
	status_of "source$tag" 120 || broken "the source does not end" "take a shorter clip"
	if $ffmpeg && [ ! -s "$tmp/packets-in$tag" ]; then status=1; fi # it ends well, too, when it refused each frame
	[ "$status" = 0 ] || broken "the source cannot send this clip as RTP" "take another clip; its log says why" "$(log "source$tag")"
	for name in "record$tag" "open$tag" "seal$tag"; do
		lives "$name" || broken "$name ended in mid-call" "look at its log; the call begins anew when it runs" "$(log "$name")"
	done
	# The far end ends by itself when all frames have come.
	for ((tries = 0; tries < most; tries++)); do
		lives "end$tag" || break
		if $ffmpeg; then packets_same "$tag" && alike=$((alike + 1)); fi
		[ $alike -lt 60 ] || break # all packets came; this ffmpeg does not know that it was all
		sleep 0.05
	done
	end "end$tag"
	same="frame for frame" far_end=file
	if ! $ffmpeg; then
		sed '/^running$/d' "$(log "end$tag")" >"$tmp/got$tag"
		got=$(wc -l <"$tmp/got$tag")
		cmp -s "$tmp/sent" "$tmp/got$tag"
		return
	fi
	local rec=$tmp/call$tag.${picture:-mkv}
	if [ -n "$picture" ]; then
		pictures_same "$rec" && return
	fi
	hashes "$rec" copy >"$tmp/got$tag"
	got=$(wc -l <"$tmp/got$tag")
	cmp -s "$tmp/sent" "$tmp/got$tag" && return
	# Sound in which every byte stands for itself is cut in other places.
	same="byte for byte"
	[ "$got" -gt 0 ] && [ "$(whole "$rec")" = "$(whole "$clip")" ] && return
	# Containers wrap some codecs differently: then the pictures are compared.
	[ -s "$tmp/sent.decoded" ] || hashes "$clip" decoded >"$tmp/sent.decoded"
	hashes "$rec" decoded >"$tmp/got$tag.decoded"
	same="decoded frame for frame"
	[ -s "$tmp/sent.decoded" ] && cmp -s "$tmp/sent.decoded" "$tmp/got$tag.decoded" && return
	# Of others ffmpeg at the end of a stream makes no file, or other frames than it had.
	same="packet for packet of RTP, $(wc -l <"$tmp/packets-in$tag")" far_end="ffmpeg, which writes other frames than it read"
	packets_same "$tag"
}

# pictures_same compares the frames of H.264 and H.265, or, where parameter sets came by the
# session's description, their slices.
pictures_same() {
	"$tool" frames "$tmp/source.$picture" >"$tmp/sent$tag.all" 2>&1 && "$tool" frames "$1" >"$tmp/got$tag" 2>&1 || return
	got=$(wc -l <"$tmp/got$tag")
	cmp -s "$tmp/sent$tag.all" "$tmp/got$tag" && return
	same="frame for frame (each slice; parameter sets came with the session's description)"
	cmp -s <("$tool" frames -slices "$tmp/source.$picture") <("$tool" frames -slices "$1")
}

# packets_same: every packet that ffmpeg sent came out at the far end, bit for bit.
packets_same() {
	[ -s "$tmp/packets-in$1" ] && cmp -s <(sort "$tmp/packets-in$1") <(sort "$tmp/packets-out$1")
}

# recorded_same: what came out of a recording is what went into the call, packet for packet, or of a source
# of our own frame for frame.
recorded_same() {
	if $ffmpeg; then
		[ -s "$tmp/packets-in$1" ] && cmp -s <(sort "$tmp/packets-in$1") <("$tool" opened "$tmp/opened$1.rtpdump" | sort)
	else
		cmp -s "$tmp/sent" <("$tool" opened -codec "$codec" "$tmp/opened$1.rtpdump")
	fi
}

# flows waits until something of a call comes to the media network.
flows() {
	local tries
	for ((tries = 0; tries < 400; tries++)); do
		[ ! -s "$tmp/media$1.captured" ] || return 0
		lives "source$1" || return 0 # what it says is looked at when it has ended
		sleep 0.05
	done
	broken "nothing of the call comes to the media network" "look at its log" "$(log "seal$1")"
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
	[ "$got" != "$frames" ] || broken "all $frames frames arrived, but not as they were sent" "that is a fault of chanseal, or of who makes frames of packets at the far end: report it, with the clip" "$(log "open$tag")"
	broken "$got of $frames frames arrived ($text at the media network)" "compare the counters: gateway seal, media network, gateway open" "$(log "open$tag")"
}
