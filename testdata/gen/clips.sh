#!/usr/bin/env bash
# Makes the clips in testdata/media: the output of real encoders and real muxers,
# so that a reader that drops, moves or invents anything is found out.
#
#   testdata/gen/clips.sh [DIR]        DIR defaults to testdata/media
#
# Needs ffmpeg, mkvtoolnix, espeak-ng and GStreamer (Debian 12: ffmpeg 5.1,
# mkvmerge 74, espeak-ng 1.51, GStreamer 1.22). With the same versions a second run
# writes the same bytes, except for the random track numbers in live-gst.webm and, now
# and then, the H.265 clips (see there); other versions write other bytes. That is why
# the clips are committed. At the end it checks that each clip holds what it is there
# for and decodes soundly, and fails if one does not.
set -euo pipefail
export LC_ALL=C TZ=UTC

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-$here/../media}
mkdir -p "$out"
out=$(cd "$out" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

for tool in ffmpeg ffprobe mkvmerge mkvinfo espeak-ng gst-launch-1.0 xxd; do
	command -v "$tool" >/dev/null || {
		echo "clips: $tool is missing, apt-get install ffmpeg mkvtoolnix espeak-ng xxd gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good" >&2
		exit 1
	}
done

# One thread and bitexact everywhere: the only way to the same bytes twice. The
# muxer's bitexact flag also replaces random track and stream numbers by fixed ones.
ff() { ffmpeg -nostdin -hide_banner -loglevel error -y -filter_complex_threads 1 -filter_threads 1 "$@"; }
exact=(-fflags +bitexact -flags:v +bitexact -flags:a +bitexact -threads 1)
# The seed fixes the unique identifiers that mkvmerge would otherwise draw.
mkv() { mkvmerge --quiet --deterministic 9605 "$@"; }

# video SIZE RATE SECONDS: a test card over a Mandelbrot zoom, with a game of life.
# Flat areas, fine detail, slow and fast motion: frame sizes spread as in real video.
video() {
	echo "mandelbrot=size=$1:rate=$2,format=yuv420p[m];testsrc2=size=$1:rate=$2,format=yuv420p[t];
	life=size=$1:rate=$2:seed=9605:ratio=0.2:mold=12:life_color=#40d0ff:death_color=#802020:mold_color=#000000,format=yuv420p[l];
	[m][t]blend=all_mode=overlay[b];[b][l]blend=all_mode=screen:all_opacity=0.35,trim=duration=$3,format=yuv420p"
}

say() { espeak-ng -v en-us -s 165 -w "$tmp/$1.wav" "$2"; }
say a "Per channel, end to end. Only the members of this channel can hear what I am saying, and nobody in between."
say b "One, two, three, testing. The quick brown fox jumps over the lazy dog, while the relay forwards every packet and understands none of them. Rotate the key, and yesterday's member hears nothing of today."

# audio NAME SECONDS: the speech over a quiet chord, stereo, 48 kHz.
audio() {
	ff -i "$tmp/$1.wav" -filter_complex "[0:a]aresample=48000,aformat=channel_layouts=stereo,volume=0.9,apad[s];
	aevalsrc='0.03*sin(2*PI*220*t)+0.03*sin(2*PI*277.18*t)|0.03*sin(2*PI*329.63*t)+0.02*sin(2*PI*440*t*(1+0.0005*sin(5*t)))':s=48000[c];
	[s][c]amix=inputs=2:normalize=0,atrim=duration=$2[a]" -map '[a]' -c:a pcm_s16le -bitexact "$tmp/$1-$2.wav"
}
audio a 3
audio a 4
audio b 4

opus=(-c:a libopus -application audio -vbr on -b:a 48k)
voice=(-c:a libopus -application voip -vbr on -b:a 24k -ac 1)
vp8=(-c:v libvpx -quality good -cpu-used 2 -auto-alt-ref 1 -lag-in-frames 12)
vp9=(-c:v libvpx-vp9 -quality good -cpu-used 3 -row-mt 0 -lag-in-frames 12)

echo "clips: WebM"
ff -i "$tmp/a-3.wav" -filter_complex "$(video 320x180 25 3)[v]" -map '[v]' -map 0:a "${vp8[@]}" -b:v 330k -g 50 \
	-c:a libopus -vbr on -b:a 32k "${exact[@]}" -metadata title="chanseal demo" "$out/demo.webm"
ff -i "$tmp/b-4.wav" -filter_complex "$(video 320x240 30 4)[v]" -map '[v]' -map 0:a "${vp8[@]}" -b:v 420k -g 40 \
	"${opus[@]}" "${exact[@]}" -cluster_time_limit 1000 "$out/vp8-opus.webm"
ff -i "$tmp/a-4.wav" -filter_complex "$(video 320x180 30000/1001 4)[v]" -map '[v]' -map 0:a "${vp9[@]}" -auto-alt-ref 1 -b:v 320k -g 60 \
	"${opus[@]}" "${exact[@]}" "$out/vp9-opus.webm"
# The alpha plane is a moving disc: a second VP9 frame beside each first one. Only
# without hidden frames do both encoders give one packet a picture.
ff -i "$tmp/b-4.wav" -filter_complex "$(video 240x180 25 3)[c];color=black:size=240x180:rate=25,format=gray,
	geq=lum='if(lt(hypot(X-120-60*sin(T*2),Y-90-30*cos(T*3)),50+10*sin(T*5)),255,20)',trim=duration=3[m];[c][m]alphamerge,format=yuva420p[v]" \
	-map '[v]' -map 0:a -t 3 "${vp9[@]}" -auto-alt-ref 0 -b:v 250k -g 25 "${opus[@]}" "${exact[@]}" "$out/vp9-alpha-opus.webm"
# Live: a Segment of unknown size, no Cues, no Duration; from GStreamer also Clusters of
# unknown size, and the Tags before the Info.
ff -i "$tmp/a-3.wav" -filter_complex "$(video 192x108 15 3)[v]" -map '[v]' -map 0:a -c:v libvpx -deadline realtime -cpu-used 8 \
	-error-resilient 1 -b:v 150k -g 15 "${voice[@]}" "${exact[@]}" -f webm -live 1 -cluster_time_limit 500 - | cat >"$out/live.webm"
timeout 60 gst-launch-1.0 -q webmmux name=m streamable=true ! filesink location="$out/live-gst.webm" \
	filesrc location="$out/live.webm" ! matroskademux name=d \
	d.video_0 ! queue max-size-time=0 max-size-buffers=0 max-size-bytes=0 ! m.video_0 \
	d.audio_0 ! queue max-size-time=0 max-size-buffers=0 max-size-bytes=0 ! m.audio_0

echo "clips: H.264"
# Two parts that differ in size, profile and parameter set numbers, joined without
# re-encoding: the second part's sets exist only inside the stream.
x264() { # x264 OUT SIZE SECONDS OFFSET PARAMS...
	local o=$1 size=$2 seconds=$3 offset=$4; shift 4
	ff -f lavfi -i "$(video "$size" 25 "$seconds")" -c:v libx264 -preset medium -threads 1 "$@" \
		-fflags +bitexact -flags:v +bitexact -output_ts_offset "$offset" -muxdelay 0 -muxpreload 0 "$o"
}
x264 "$tmp/1.ts" 320x180 2 0 -b:v 330k -maxrate 400k -bufsize 400k -x264-params "bframes=3:b-pyramid=normal:slices=4:keyint=25:sps-id=0"
x264 "$tmp/2.ts" 240x136 2 2 -profile:v main -b:v 220k -maxrate 300k -bufsize 300k -x264-params "bframes=2:slices=3:keyint=20:sps-id=3:ref=2"
printf "file '%s'\n" "$tmp/1.ts" "$tmp/2.ts" >"$tmp/list"
ff -f concat -safe 0 -i "$tmp/list" -i "$tmp/b-4.wav" -map 0:v -map 1:a -c:v copy "${opus[@]}" "${exact[@]}" "$out/h264-opus.mkv"
# Byte stream: access unit delimiters, SEI, start codes of 3 and 4 bytes, and, in the
# constant rate part, filler data.
x264 "$tmp/1.h264" 320x180 2 0 -b:v 260k -x264-params "aud=1:bframes=3:b-pyramid=normal:slices=4:keyint=25:sps-id=0"
x264 "$tmp/2.h264" 256x144 1 0 -b:v 200k -minrate 200k -maxrate 200k -bufsize 40k -x264-params "aud=1:nal-hrd=cbr:filler=1:bframes=2:slices=2:keyint=13:sps-id=1:interlaced=0"
cat "$tmp/1.h264" "$tmp/2.h264" >"$out/h264.h264"

echo "clips: H.265"
# Several slices are sound only with wavefronts, and without a thread pool x265 3.5
# switches those off with no more than a warning: then no decoder can read the slices.
# With a pool about one run in thirty writes other bytes, as sound as the rest. A
# remark of x265 also names the processor's features. The hash of each picture (a
# suffix SEI) is what the check below holds the decoder's pictures to.
x265="log-level=error:frame-threads=1:repeat-headers=1:hash=1"
ff -i "$tmp/a-4.wav" -filter_complex "$(video 320x180 25 4)[v]" -map '[v]' -map 0:a -c:v libx265 -preset medium -b:v 250k \
	-x265-params "$x265:pools=1:bframes=4:b-pyramid=1:slices=3:keyint=40" "${opus[@]}" "${exact[@]}" "$out/h265-opus.mkv"
ff -f lavfi -i "$(video 320x180 25 2)" -c:v libx265 -preset medium -b:v 200k \
	-x265-params "$x265:pools=1:bframes=4:slices=3:keyint=25:aud=1" "${exact[@]}" "$tmp/1.h265"
ff -f lavfi -i "$(video 256x144 25 1)" -c:v libx265 -preset medium -b:v 150k -pix_fmt yuv420p10le \
	-x265-params "$x265:pools=none:bframes=2:keyint=25:aud=1:open-gop=1:hrd=1:vbv-maxrate=225:vbv-bufsize=225" "${exact[@]}" "$tmp/2.h265"
cat "$tmp/1.h265" "$tmp/2.h265" >"$out/h265.h265"

echo "clips: AV1"
ff -i "$tmp/b-4.wav" -filter_complex "$(video 320x180 25 4)[v]" -map '[v]' -map 0:a -c:v libaom-av1 -cpu-used 6 -row-mt 0 -b:v 230k \
	-g 50 -lag-in-frames 19 "${opus[@]}" "${exact[@]}" -metadata creation_time=2026-01-02T03:04:05Z "$out/av1-opus.mkv"

# Sounds of many codecs, none of which ffmpeg's muxer gives a default duration: how
# long a frame plays is in the codec alone.
ff -i "$tmp/a-3.wav" -t 1 -map 0 -map 0 -map 0 -map 0 -map 0 -map 0 -map 0 -map 0 -ar 48000 -ac 1 \
	-c:a:0 libvorbis -q:a:0 1 -c:a:1 flac -c:a:2 aac -b:a:2 48k -c:a:3 libmp3lame -ar:a:3 22050 -b:a:3 32k \
	-c:a:4 ac3 -b:a:4 64k -c:a:5 eac3 -b:a:5 48k -c:a:6 pcm_s16le -ar:a:6 8000 -c:a:7 mp2 -ar:a:7 44100 -b:a:7 64k \
	"${exact[@]}" "$out/sounds.mka"

echo "clips: IVF and Ogg"
ff -f lavfi -i "$(video 320x180 30 3)" "${vp8[@]}" -b:v 330k -g 45 "${exact[@]}" "$out/vp8.ivf"
ff -i "$tmp/b.wav" "${voice[@]}" "${exact[@]}" -metadata title="Speech" -metadata artist="espeak-ng" "$out/speech.ogg"
ff -i "$tmp/a-3.wav" -t 1 -c:a libopus -application lowdelay -frame_duration 2.5 -b:a 64k "${exact[@]}" -page_duration 100000 "$out/opus-2.5ms.ogg"
ff -i "$tmp/a-3.wav" "${voice[@]}" -frame_duration 60 "${exact[@]}" -page_duration 1 "$out/opus-60ms.ogg"
# A cover picture makes the comment header longer than a page can be, and the second
# of two chained streams (RFC 3533, Section 4) has another serial number.
ff -f lavfi -i "$(video 720x480 1 1)" -frames:v 1 -q:v 5 "${exact[@]}" "$tmp/cover.jpg"
u32() { printf '%08x' "$1" | sed 's/../\\x&/g'; }
{
	printf "$(u32 3)$(u32 10)image/jpeg$(u32 0)$(u32 720)$(u32 480)$(u32 24)$(u32 0)$(u32 "$(stat -c %s "$tmp/cover.jpg")")"
	cat "$tmp/cover.jpg"
} | base64 -w 0 | { echo ";FFMETADATA1"; printf 'METADATA_BLOCK_PICTURE='; sed 's/=/\\=/g'; echo; } >"$tmp/cover.meta"
ff -i "$tmp/a-3.wav" -i "$tmp/cover.meta" -map 0:a -map_metadata 1 -t 1 "${opus[@]}" "${exact[@]}" "$tmp/1.ogg"
ff -i "$tmp/b-4.wav" -t 1 "${voice[@]}" "${exact[@]}" -serial_offset 77 "$tmp/2.ogg"
cat "$tmp/1.ogg" "$tmp/2.ogg" >"$out/chained-cover.ogg"

echo "clips: mkvmerge"
cat >"$tmp/subs.srt" <<'SRT'
1
00:00:00,200 --> 00:00:01,500
Per channel, <i>end to end</i>.

2
00:00:01,600 --> 00:00:02,900
Nobody in between.
SRT
cat >"$tmp/subs.ass" <<'ASS'
[Script Info]
ScriptType: v4.00+
PlayResX: 320
PlayResY: 180

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Sans,16,&H00FFFFFF,&H000000FF,&H00000000,&H00000000,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:00.20,0:00:01.50,Default,,0,0,0,,{\pos(160,150)}Pro Kanal verschlüsselt.
Dialogue: 1,0:00:01.00,0:00:02.90,Default,,0,0,0,,{\i1}Niemand dazwischen.{\i0}
ASS
cat >"$tmp/subs.vtt" <<'VTT'
WEBVTT

STYLE
::cue(b) { color: red }

intro
00:00:00.200 --> 00:00:01.500 align:start line:10%
Per channel, <b>end to end</b>.

NOTE a remark between two cues

00:00:01.600 --> 00:00:02.900 position:20%
Nobody in between.
VTT
cat >"$tmp/chapters.xml" <<'XML'
<?xml version="1.0"?>
<Chapters><EditionEntry><EditionUID>101</EditionUID>
<ChapterAtom><ChapterUID>1001</ChapterUID><ChapterTimeStart>00:00:00.000</ChapterTimeStart><ChapterTimeEnd>00:00:01.500</ChapterTimeEnd>
<ChapterDisplay><ChapterString>First</ChapterString><ChapterLanguage>eng</ChapterLanguage></ChapterDisplay>
<ChapterDisplay><ChapterString>Erstes</ChapterString><ChapterLanguage>ger</ChapterLanguage></ChapterDisplay></ChapterAtom>
<ChapterAtom><ChapterUID>1002</ChapterUID><ChapterTimeStart>00:00:01.500</ChapterTimeStart>
<ChapterDisplay><ChapterString>Second</ChapterString><ChapterLanguage>eng</ChapterLanguage></ChapterDisplay></ChapterAtom>
</EditionEntry></Chapters>
XML
cat >"$tmp/tags.xml" <<'XML'
<?xml version="1.0"?>
<Tags><Tag><Targets><TargetTypeValue>50</TargetTypeValue></Targets>
<Simple><Name>TITLE</Name><String>A title that must not show</String><TagLanguage>eng</TagLanguage>
<Simple><Name>SORT_WITH</Name><String>title that must not show, A</String></Simple></Simple></Tag></Tags>
XML
printf 'An attachment that must not show.\n' >"$tmp/note.txt"
ff -f lavfi -i "$(video 64x36 1 1)" -frames:v 1 "${exact[@]}" "$tmp/cover.png"
ff -f lavfi -i "$(video 320x180 25 3)" -c:v libx264 -preset medium -threads 1 -b:v 300k -x264-params "bframes=3:keyint=25" "${exact[@]}" "$tmp/v.mkv"
ff -i "$tmp/a-3.wav" -c:a libmp3lame -q:a 5 "${exact[@]}" "$tmp/a.mp3"
ff -i "$tmp/a-3.wav" -c:a ac3_fixed -b:a 96k "${exact[@]}" "$tmp/a.ac3"
ff -i "$tmp/a-3.wav" -c:a libvorbis -q:a 1 "${exact[@]}" "$tmp/a.ogg"
ff -i "$tmp/a-3.wav" -t 2.987 "${voice[@]}" "${exact[@]}" "$tmp/o.ogg"
mkv -o "$out/subs-chapters-attachment.mkv" --title "A title that must not show" \
	--chapters "$tmp/chapters.xml" --global-tags "$tmp/tags.xml" \
	--attachment-name note.txt --attachment-mime-type text/plain --attach-file "$tmp/note.txt" \
	--attachment-name cover.png --attachment-mime-type image/png --attach-file "$tmp/cover.png" \
	--language 0:und --track-name 0:"The camera" "$tmp/v.mkv" \
	--language 0:eng "$tmp/a.mp3" \
	--language 0:eng "$tmp/o.ogg" \
	--language 0:eng --compression 0:none "$tmp/subs.srt" \
	--language 0:ger --compression 0:zlib "$tmp/subs.ass" \
	--language 0:eng --compression 0:none "$tmp/subs.vtt"
# Every kind of lacing: fixed size for AC-3, EBML and Xiph forced for the others.
mkv -o "$out/lacing-fixed.mka" "$tmp/a.ac3"
mkv -o "$out/lacing-ebml.mka" --engage lacing_ebml "$tmp/a.mp3"
mkv -o "$out/lacing-xiph.mka" --engage lacing_xiph "$tmp/a.ogg"
# BlockGroups for everything, with references to several frames; codec state where the
# MPEG-2 sequence header changes. (Header stripping is missing on purpose: the frames
# that mkvmerge 74 writes with --compression mpeg4_p2 begin with garbage.)
ff -f lavfi -i "$(video 128x96 25 2)" -c:v mpeg2video -q:v 12 -g 12 -bf 2 "${exact[@]}" "$tmp/v.m2v"
ff -f lavfi -i "$(video 128x96 25 1)" -c:v mpeg2video -q:v 12 -g 12 -bf 2 -aspect 16:9 "${exact[@]}" "$tmp/w.m2v"
cat "$tmp/w.m2v" >>"$tmp/v.m2v"
mkv -o "$out/blockgroup-codecstate.mkv" --engage no_simpleblocks --engage use_codec_state_only \
	"$tmp/v.m2v" "$tmp/o.ogg"

echo "clips: checks"
# want FILE EVIDENCE COMMAND...: the command's output must match.
want() {
	local file=$1 pattern=$2; shift 2
	"$@" >"$tmp/seen" 2>&1 || true
	grep -qE -- "$pattern" "$tmp/seen" || { echo "clips: $file lacks what it is there for: $pattern" >&2; exit 1; }
}
elements() { (cd "$out" && mkvinfo -a -v -v "$1"); }
packets() { ffprobe -v error -select_streams v -show_entries packet=pts,dts,flags -of csv=p=0 "$out/$1"; }
# nalus FILE CODEC: how many NAL units of each type.
nalus() {
	ffmpeg -nostdin -hide_banner -loglevel trace -i "$out/$1" -map 0:v -c copy -bsf:v trace_headers -f null - 2>&1 |
		grep -oE "nal_unit_type +[01]+ = [0-9]+" | awk '{n[$NF]++} END {for (t in n) print "type", t, "count", n[t]}'
}
# lacing FILE KIND: the lacing bits (RFC 9559, Section 10.3) of the blocks that hold
# more than one frame. mkvinfo says where the blocks are, the bits are in the file.
lacing() {
	elements "$1" | sed -nE 's/.*[Bb]lock: .* ([0-9]+) frame\(s\).* at ([0-9]+)$/\1 \2/p' | while read -r frames at; do
		[ "$frames" -gt 1 ] || continue
		# ID, size (its length is in the leading zero bits), track, timestamp, flags
		read -r size _ < <(od -An -tu1 -j $((at + 1)) -N 1 "$out/$1")
		n=1; while [ $((size & (256 >> n))) -eq 0 ]; do n=$((n + 1)); done
		read -r flags _ < <(od -An -tu1 -j $((at + 1 + n + 3)) -N 1 "$out/$1")
		case $((flags >> 1 & 3)) in 0) echo none ;; 1) echo xiph ;; 2) echo fixed ;; 3) echo ebml ;; esac
	done
}
# continued FILE: pages that begin with the rest of a packet (RFC 3533, Section 6).
continued() { xxd -p "$out/$1" | tr -d '\n' | grep -oE '4f67675300(01|03|05)' | head -1; }
unknown_clusters() { xxd -p "$out/$1" | tr -d '\n' | grep -oE '1f43b67501ffffffffffffff' | head -1; }
# later_slices FILE: slices of H.265 that are not the first of their picture.
later_slices() {
	ffmpeg -nostdin -hide_banner -loglevel trace -i "$out/$1" -map 0:v -c copy -bsf:v trace_headers -f null - 2>&1 |
		grep -oE "first_slice_segment_in_pic_flag +0 = 0" | wc -l
}
# frames OPTIONS -i FILE: the MD5 of every frame that decodes, and of every subtitle.
frames() { ffmpeg -nostdin -v error "$@" -map '0:v?' -map '0:a?' -map '0:s?' -c:s copy -f framemd5 -; }
# sound FILE: decodes without a word, checksums included, and to the same pictures and
# samples however the decoder spreads its work: three times with its own choice of
# threads, once with one.
sound() {
	local f=$out/$1 said i
	said=$(ffmpeg -nostdin -v error -err_detect crccheck -i "$f" -map 0 -c:s copy -f null - 2>&1) ||
		{ echo "clips: $1 does not decode: $said" >&2; return 1; }
	[ -z "$said" ] || { echo "clips: $1 does not decode cleanly: $said" >&2; return 1; }
	frames -threads 1 -i "$f" >"$tmp/frames" || return 1
	grep -q "^[0-9]" "$tmp/frames" || { echo "clips: $1 decodes to nothing" >&2; return 1; }
	for i in 1 2 3; do
		frames -i "$f" >"$tmp/again" && cmp -s "$tmp/again" "$tmp/frames" || { echo "clips: $1 decodes to something else in run $i" >&2; return 1; }
	done
}

want vp9-alpha-opus.webm "Block additional" elements vp9-alpha-opus.webm
want vp9-alpha-opus.webm "VideoAlphaMode" elements vp9-alpha-opus.webm
want vp8-opus.webm "Discard padding" elements vp8-opus.webm
want vp8-opus.webm "Codec-inherent delay" elements vp8-opus.webm
want live.webm "Segment: size unknown" elements live.webm
want chained-cover.ogg 4f676753 continued chained-cover.ogg
want live-gst.webm 1f43b675 unknown_clusters live-gst.webm
for t in "7 count [2-9]" "8 count [2-9]" "1 count" "5 count"; do
	want h264-opus.mkv "type $t" nalus h264-opus.mkv
	want h264.h264 "type $t" nalus h264.h264
done
want h264.h264 "type 9 count" nalus h264.h264
want h264.h264 "type 12 count" nalus h264.h264
want h264-opus.mkv "^240,136" ffprobe -v error -select_streams v -show_entries frame=width,height -of csv=p=0 "$out/h264-opus.mkv"
want h264.h264 "^256,144" ffprobe -v error -select_streams v -show_entries frame=width,height -of csv=p=0 "$out/h264.h264"
for f in h264-opus.mkv h264.h264 h265-opus.mkv h265.h265; do
	want $f "^B" ffprobe -v error -select_streams v -show_entries frame=pict_type -of csv=p=0 "$out/$f"
done
for t in "32 count [2-9]" "33 count [2-9]" "34 count [2-9]" "39 count" "40 count"; do
	want h265-opus.mkv "type $t" nalus h265-opus.mkv
	want h265.h265 "type $t" nalus h265.h265
done
want h265.h265 "type 35 count" nalus h265.h265
want h265-opus.mkv "^200$" later_slices h265-opus.mkv
want h265.h265 "^100$" later_slices h265.h265
want h265.h265 "^256,144,yuv420p10le" ffprobe -v error -select_streams v -show_entries frame=width,height,pix_fmt -of csv=p=0 "$out/h265.h265"
want lacing-fixed.mka fixed lacing lacing-fixed.mka
want lacing-ebml.mka ebml lacing lacing-ebml.mka
want lacing-xiph.mka xiph lacing lacing-xiph.mka
for p in A_VORBIS A_FLAC A_AAC A_MPEG/L3 A_AC3 A_EAC3 A_PCM A_MPEG/L2; do
	want sounds.mka "$p" elements sounds.mka
done
for p in "Chapter atom" "Attached" "Block additional" "S_TEXT/UTF8" "S_TEXT/ASS" "S_TEXT/WEBVTT" "Content encoding" "Segment UID" "Discard padding"; do
	want subs-chapters-attachment.mkv "$p" elements subs-chapters-attachment.mkv
done
want subs-chapters-attachment.mkv "ebml|xiph|fixed" lacing subs-chapters-attachment.mkv
for p in "Block group" "Reference block" "Codec state"; do
	want blockgroup-codecstate.mkv "$p" elements blockgroup-codecstate.mkv
done
for f in "$out"/*.webm "$out"/*.mkv "$out"/*.mka "$out"/*.ogg "$out"/*.ivf "$out"/*.h26?; do
	sound "${f##*/}"
done
[ "$(stat -c %s "$out/demo.webm")" -le 250000 ] || { echo "clips: demo.webm is over 250 kB" >&2; exit 1; }
total=$(cat "$out"/*.* | wc -c)
[ "$total" -lt 4000000 ] || { echo "clips: $total bytes together, the limit is 4 MB" >&2; exit 1; }
echo "clips: $total bytes in $out, all checks passed"
