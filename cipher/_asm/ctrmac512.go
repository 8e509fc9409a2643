package main

// AES-128-CTR with HMAC-SHA256 over lengths, nonce, header, AAD and ciphertext (RFC
// 9605, section 4.4.1) in one piece, for CPUs with AVX-512, VAES, VBMI and the SHA
// extensions: a frame costs what its chain of SHA256RNDS2 costs, and the rest happens
// beside it.
//
// What bounds it (Zen 5 and Granite Rapids, measured): SHA256RNDS2 takes 4 cycles and each
// needs the one before, 128 cycles for 64 bytes of message. Four blocks of AES take 5 or 10
// cycles, so everything but SHA is free if it is off that chain: one vector of text is encrypted
// (its key stream made, in open) during the rounds of the block in front of it. What
// cannot be hidden is the way in: the last words of the first block wait for the first
// vector of ciphertext, 30 to 40 cycles of AES, while its first 12 rounds run.
//
// On Intel's CPUs every instruction on 512 bits closes one of three vector units to the
// others for a while, and SHA's then come late: in the loop, ten VAESENC on 512 bits cost 7 cycles,
// twenty on 256 none, and a VPERMT2B on 512 bits with the extraction of its four
// lanes 22 (Granite Rapids, measured; Zen 5 has the room for either). So the loop has 256 bits at the
// most. Its message is a stream whose blocks begin anywhere within the vectors of ciphertext: V[j] is
// vector j, V[-1] has at its end the s bytes in front of the ciphertext, and message
// block j is 64 bytes of V[j-1] ‖ V[j] from 64-s on. The two vectors lie on the stack, where every load of
// 16 bytes, at a multiple of 16, lies within one store and can take its bytes from there; two
// such loads and a VPERMT2B, which swaps the bytes of each word as well, are a quad of the
// message. Behind the ciphertext V goes on with the padding. Ends and beginnings of a
// frame are on 512 bits.
//
// Registers:
//
//	DX frame   AX key   DI dst   SI src   R11 bytes not yet in a V (under 0: the padding
//	is in, too)   R12 message blocks left   R8 R9 where the last vector is read and
//	written (buf on the stack if dead lanes would lie on another page: a fault that a
//	mask suppresses costs 200 ns)   R10 state or nil   R14 key stream (open)   BX CX R13
//	scratch   K1 K2 the last vector's bytes, and the first byte behind them
//	X0 X9 scratch   X1 X2 SHA state   X3-X6 quads of the schedule   X7 X8 state at the
//	start of the block   X14 the length's quad
//	Z16 nonce XOR first round key   Z17-Z26 round keys   Z27 counters   Z29 indices
//	Z28 Z30 scratch   Z31 V[j+1] on its way, in the loop with Y28   in the loop CX the two vectors, BX where
//	the next message block begins in them
//
// No vector in Z0-Z15 is wider than 128 bits, and none is extracted to X0-X15: SHA's
// instructions are SSE code, and the rest is not (see clean).
//
// Constant time: instructions and addresses depend on lengths, addresses and the state
// pointer only, and, in open, after it is complete, on the one bit whether the tag was
// right. That was checked by reading: every conditional jump here stands behind a CMPQ,
// CMPL or TESTQ of a length, a pointer or a count, but for the one behind VPTEST. The
// key stream of open is made before the tag is known, and lies on the stack; it meets
// the text only after that jump, and is cleared on both of its ways. Every exit clears
// all vector registers.

// Offsets in ctrMACKey, CTRFrame and macState; the engine asserts them.
const (
	cmInner = 256
	cmOuter = 288
	cmTag   = 320

	cfDst   = 8
	cfSrc   = 32
	cfN     = 40
	cfAAD   = 56
	cfAADN  = 64
	cfHead  = 80
	cfHeadN = 96
	cfLo    = 104
	cfHi    = 112
	cfOK    = 116
	cfState = 120
	cfTag   = 128

	msPrev  = 32
	msFill  = 40
	msTotal = 48
	msBlock = 56
	msMore  = 64
)

// macHeadSize is the length of what stands in front of header and AAD: three
// lengths and the nonce.
const macHeadSize = 36

// streamMost is the longest text in bytes whose key stream open keeps on the stack.
const streamMost = 1536

func ctrmacFile() []string {
	o := append([]string{"#include \"funcdata.h\"", ""}, macTables()...)
	for _, kind := range []macKind{macSeal, macOpen, macOnly} {
		o = append(o, clean(ctrmac(kind))...)
	}
	return o
}

// The room of the last two vectors on the stack, below buf: 128 bytes, 16 that are loaded and not
// used, 63 to align; and in front of it its address and that of the message's first quad in it.
const macRoom = 16 + 208

// begin is where the loop's way begins: behind the first block, with V[0] in Z31 and s in R13.
var begin = []string{f("LEAQ room-%d(SP), CX", 64+macRoom-63), "ANDQ $-64, CX", "MOVQ CX, room-72(SP)", "VMOVDQU64 Z31, 64(CX)",
	"MOVL $64, BX", "SUBQ R13, BX", "MOVL BX, R13", "ANDL $15, R13", "SUBQ R13, BX", "ADDQ CX, BX", "MOVQ BX, quads-80(SP)",
	"VPBROADCASTB R13, X29", "VPADDB swapped<>(SB), X29, X29"}

// shift makes V[j] V[j-1], and has the room's address in CX.
func shift() []string {
	return []string{"MOVQ room-72(SP), CX", "VMOVDQU64 64(CX), Y30", "VMOVDQU64 Y30, (CX)", "VMOVDQU64 96(CX), Y30", "VMOVDQU64 Y30, 32(CX)"}
}

// nextQuad brings quad i of the next block into its register.
func nextQuad(i int) []string {
	return []string{f("VMOVDQU %d(BX), X%d", 16*i, 3+i), f("VPERMT2B %d(BX), X29, X%d", 16*i+16, 3+i)}
}

// halfVectors brings the next 64 bytes of ciphertext into the room at CX.
func halfVectors(kind macKind) []string {
	var o []string
	half := []int{31, 28}
	if kind != macOnly {
		for _, z := range half {
			o = append(o, f("VPSHUFB counterSwap<>(SB), Y27, Y%d", z), "VPADDD counter2<>(SB), Y27, Y27", f("VPXORQ Y16, Y%d, Y%d", z, z))
		}
		for r := 17; r < 26; r++ {
			for _, z := range half {
				o = append(o, f("VAESENC Y%d, Y%d, Y%d", r, z, z))
			}
		}
	}
	for i, z := range half {
		switch kind {
		case macSeal:
			o = append(o, f("VPXORQ %d(SI), Y26, Y30", 32*i), f("VAESENCLAST Y30, Y%d, Y%d", z, z), f("VMOVDQU64 Y%d, %d(DI)", z, 32*i))
		case macOpen:
			o = append(o, f("VAESENCLAST Y26, Y%d, Y%d", z, z), f("VMOVDQU64 Y%d, %d(R14)", z, 32*i), f("VMOVDQU64 %d(SI), Y%d", 32*i, z))
		default:
			o = append(o, f("VMOVDQU64 %d(SI), Y%d", 32*i, z))
		}
		o = append(o, f("VMOVDQU64 Y%d, %d(CX)", z, 64+32*i))
	}
	switch kind {
	case macSeal:
		o = append(o, "ADDQ $64, DI")
	case macOpen:
		o = append(o, "ADDQ $64, R14")
	}
	return append(o, "ADDQ $64, SI", "SUBQ $64, R11")
}

// macTables are the tables that the kernels for one frame and those for batches read.
func macTables() []string {
	var iota64, swapped, pad, swap, count, step, half []byte
	for j := range 64 {
		iota64, swapped, pad = append(iota64, byte(j)), append(swapped, byte(j^3)), append(pad, 0x80)
		switch {
		case j%16 < 12:
			swap = append(swap, 0x80)
		default:
			swap = append(swap, byte(27-j%16))
		}
		if j%16 == 12 {
			count, step, half = append(count, byte(j/16)), append(step, 4), append(half, 2)
		} else {
			count, step, half = append(count, 0), append(step, 0), append(half, 0)
		}
	}
	return cat(shaTables(), bytesData("iota64", iota64), bytesData("swapped", swapped), bytesData("pad80", pad),
		bytesData("counterSwap", swap), bytesData("counter0", count), bytesData("counter4", step), bytesData("counter2", half[:32]))
}

type macKind int

const (
	macSeal macKind = iota
	macOpen
	macOnly
)

// woven is one block of SHA-256 with work beside it: the work is spread over groups 0 to
// 12 of four rounds, and late[i] stands behind group i.
func woven(work []string, late map[int][]string) []string {
	var o []string
	for i := range 16 {
		quad, prev, next := 3+i%4, 3+(i+3)%4, 3+(i+1)%4
		g := []string{f("VPADDD shaK<>+%d(SB), X%d, X0", 16*i, quad), "SHA256RNDS2 X0, X1, X2", "VPSHUFD $0x0e, X0, X0"}
		if i >= 3 && i < 15 {
			// Quad i+1 = quad i-3 after MSG1, plus words of quads i-1 and i, then MSG2.
			g = append(g, f("VPALIGNR $4, X%d, X%d, X9", prev, quad), f("VPADDD X9, X%d, X%d", next, next), f("SHA256MSG2 X%d, X%d", quad, next))
		}
		g = append(g, "SHA256RNDS2 X0, X2, X1")
		if i >= 1 && i < 13 {
			g = append(g, f("SHA256MSG1 X%d, X%d", quad, prev))
		}
		from, to := min(i, 13)*len(work)/13, min(i+1, 13)*len(work)/13
		o = append(o, merge(g, work[from:to])...)
		o = append(o, late[i]...)
	}
	return o
}

// extract brings a lane of Z30 to X0-X15, by way of Z28: see clean.
func extract(lane, to int) []string {
	return []string{f("VEXTRACTI32X4 $%d, Z30, X28", lane), f("VMOVDQA64 X28, X%d", to)}
}

// keyStream makes the next vector of key stream but for the last round.
func keyStream() []string {
	o := []string{"VPSHUFB counterSwap<>(SB), Z27, Z31", "VPADDD counter4<>(SB), Z27, Z27", "VPXORQ Z16, Z31, Z31"}
	for r := 17; r < 26; r++ {
		o = append(o, f("VAESENC Z%d, Z31, Z31", r))
	}
	return o
}

// fullVector brings the next 64 bytes of ciphertext into Z31.
func fullVector(kind macKind) []string {
	switch kind {
	case macSeal:
		return append(keyStream(), "VPXORQ (SI), Z26, Z28", "VAESENCLAST Z28, Z31, Z31", "VMOVDQU64 Z31, (DI)",
			"ADDQ $64, SI", "ADDQ $64, DI", "SUBQ $64, R11")
	case macOpen:
		return append(keyStream(), "VAESENCLAST Z26, Z31, Z31", "VMOVDQU64 Z31, (R14)", "ADDQ $64, R14",
			"VMOVDQU64 (SI), Z31", "ADDQ $64, SI", "SUBQ $64, R11")
	}
	return []string{"VMOVDQU64 (SI), Z31", "ADDQ $64, SI", "SUBQ $64, R11"}
}

// tailVector brings what is left of the ciphertext and the padding into Z31.
func tailVector(kind macKind) []string {
	switch kind {
	case macSeal:
		return append(keyStream(), "VMOVDQU8.Z (R8), K1, Z28", "VPXORQ Z26, Z28, Z28", "VAESENCLAST Z28, Z31, Z31",
			"VMOVDQU8.Z Z31, K1, Z31", "VMOVDQU8 Z31, K1, (R9)", "VMOVDQU8 pad80<>(SB), K2, Z31")
	case macOpen:
		return append(keyStream(), "VAESENCLAST Z26, Z31, Z31", "VMOVDQU64 Z31, (R14)", "ADDQ $64, R14",
			"VMOVDQU8.Z (R8), K1, Z31", "VMOVDQU8 pad80<>(SB), K2, Z31")
	}
	return []string{"VMOVDQU8.Z (R8), K1, Z31", "VMOVDQU8 pad80<>(SB), K2, Z31"}
}

// lastPlace sets R8, R9, K1 and K2 for a vector of R11 < 64 bytes; site tells its labels from
// others'. Its second half lies out of line.
func lastPlace(site string, dst bool) (inline, outline []string) {
	inline = []string{"LEAQ buf-64(SP), R8", "MOVQ R8, R9", "XORL BX, BX", "XORL CX, CX",
		"TESTQ R11, R11", f("JLT masks%s", site), "MOVQ $-1, BX", "BZHIQ R11, BX, BX", "LEAQ 1(BX), CX", f("TESTQ R11, R11; JEQ masks%s", site),
		"MOVL SI, R13", "ANDL $4095, R13", "CMPL R13, $4032", f("JHI bouncesrc%s", site), "MOVQ SI, R8", f("srcok%s:", site)}
	if dst {
		inline = append(inline, "MOVL DI, R13", "ANDL $4095, R13", "CMPL R13, $4032", f("JHI masks%s", site), "MOVQ DI, R9")
	}
	inline = append(inline, f("masks%s:", site), "KMOVQ BX, K1", "KMOVQ CX, K2")
	outline = []string{f("bouncesrc%s:", site), "MOVQ SI, R13", "MOVQ DI, BX", "MOVQ R8, DI", "MOVQ R11, CX", "REP; MOVSB",
		"MOVQ R13, SI", "MOVQ BX, DI", "MOVQ $-1, BX", "BZHIQ R11, BX, BX", "LEAQ 1(BX), CX", f("JMP srcok%s", site)}
	return inline, outline
}

// unbounceTail brings the last vector from buf to dst if it was written there, and
// counts R11 down.
func unbounceTail(site string) (inline, outline []string) {
	inline = []string{"LEAQ buf-64(SP), BX", "CMPQ R9, BX", f("JEQ unbounce%s", site), f("unbounced%s:", site), "SUBQ $64, R11"}
	outline = []string{f("unbounce%s:", site), "TESTQ R11, R11", f("JLE unbounced%s", site), "MOVQ SI, R13", "MOVQ BX, SI", "MOVQ R11, CX", "MOVQ DI, R9", "REP; MOVSB",
		"MOVQ R13, SI", "MOVQ R9, DI", f("JMP unbounced%s", site)}
	return inline, outline
}

// firstBlock sets everything up for the frame at DX and brings the first block of a frame into X3-X6: its
// last two quads are what waits for V[0], which goes to Z30. tagged says that Src ends
// with a tag, pieces that there may be a state to go on from.
func firstBlock(kind macKind, tagged, pieces bool) (o, out []string) {
	o = append(o, "MOVQ (DX), AX", "MOVQ (AX), AX", f("MOVQ %d(DX), R9", cfLo), f("MOVL %d(DX), R8", cfHi),
		f("MOVQ %d(DX), SI", cfSrc), f("MOVQ %d(DX), R11", cfN), f("MOVQ %d(DX), DI", cfDst))
	if tagged {
		o = append(o, f("SUBQ %d(AX), R11", cmTag))
	}
	if pieces {
		o = append(o, f("MOVQ %d(DX), R10", cfState))
	}
	// The nonce's first 8 and last 4 bytes: R8 and R9.
	split := []string{"BSWAPQ R9", "BSWAPL R8", "MOVQ R9, CX", "SHLQ $32, CX", "ORQ CX, R8", "SHRQ $32, R9"}
	o = append(o, split...)
	if kind != macOnly {
		o = append(o, "MOVL $0xaa, BX", "KMOVW BX, K3", "VPBROADCASTQ R8, Z31", "VPBROADCASTQ R9, K3, Z31",
			"VBROADCASTI32X4 (AX), Z16", "VPXORQ Z31, Z16, Z16")
		for r := 1; r < 11; r++ {
			o = append(o, f("VBROADCASTI32X4 %d(AX), Z%d", 16*r, 16+r))
		}
		o = append(o, "VMOVDQU64 counter0<>(SB), Z27")
	}
	if kind == macSeal && pieces {
		o = append(o, "TESTQ R10, R10", "JNZ offset")
		// Counters of a later piece.
		out = append(out, "offset:", f("MOVQ %d(R10), CX", msBlock), "MOVL $0x8888, BX", "KMOVW BX, K1",
			"VPBROADCASTD.Z CX, K1, Z28", "VPADDD Z28, Z27, Z27", "JMP first")
	}

	// V[0] before all else: its way is the longest.
	o = append(o, "first:", "CMPQ R11, $64", "JLT firsttail")
	o = append(o, fullVector(kind)...)
	o = append(o, "firstdone:", f("MOVQ %d(DX), R12", cfN))
	if tagged {
		o = append(o, f("SUBQ %d(AX), R12", cmTag))
	}
	if pieces {
		o = append(o, "TESTQ R10, R10", "JNZ resume")
	}

	// The first block of a whole frame, quad by quad: the first 12 rounds do not wait for
	// V[0]. Words: AAD's length, text's, tag's, nonce, head.
	o = append(o, f("MOVQ %d(DX), BX", cfAADN), f("MOVQ %d(DX), R13", cfHeadN), "LEAQ (BX)(R13*1), CX", "BSWAPQ CX", "VMOVQ CX, X3",
		"MOVQ R12, CX", "BSWAPQ CX", "VPINSRQ $1, CX, X3, X3", f("MOVQ %d(AX), CX", cmTag), "BSWAPQ CX", "VMOVQ CX, X4", "VPINSRQ $1, R8, X4, X4",
		"VPSHUFB swap32<>(SB), X3, X3", "VPSHUFB swap32<>(SB), X4, X4",
		f("MOVQ %d(DX), R8", cfHead), "MOVQ R8, CX", "SHLQ $32, CX", "ORQ R9, CX", "VMOVQ CX, X5", f("MOVQ %d(DX), R9", cfHead+8),
		"SHRQ $32, R8", "MOVQ R9, CX", "SHLQ $32, CX", "ORQ CX, R8", "VPINSRQ $1, R8, X5, X5", "SHRQ $32, R9", "VMOVQ R9, X6",
		"VPSHUFB swap32<>(SB), X5, X5", "VPSHUFB swap32<>(SB), X6, X6", "VPXORQ X30, X30, X30")
	// AAD begins at byte R13 of the last two quads.
	o = append(o, "ADDQ $4, R13", "TESTQ BX, BX", "JEQ noaad",
		f("MOVQ %d(DX), R8", cfAAD), "MOVL R8, CX", "ANDL $4095, CX", "CMPL CX, $4064", "JHI bounceaad", "aadok:",
		"MOVQ $-1, CX", "BZHIQ BX, CX, CX", "KMOVD CX, K1", "VMOVDQU8.Z (R8), K1, Y28",
		"MOVL $32, CX", "SUBL R13, CX", "VPBROADCASTB CX, Y29", "VPADDB swapped<>(SB), Y29, Y29", "VPERMI2B Y28, Y30, Y29",
		"VPORQ X29, X5, X5", "VEXTRACTI64X2 $1, Y29, X28", "VPORQ X28, X6, X6", "noaad:", "LEAQ 32(R13)(BX*1), R13")
	out = append(out, "bounceaad:", "MOVQ SI, R9", "MOVQ DI, R12", "MOVQ R8, SI", "LEAQ buf-64(SP), DI", "MOVQ DI, R8", "MOVQ BX, CX", "REP; MOVSB",
		"MOVQ R9, SI", "MOVQ R12, DI", f("MOVQ %d(DX), R12", cfN))
	if tagged {
		out = append(out, f("SUBQ %d(AX), R12", cmTag))
	}
	out = append(out, "JMP aadok")
	// R13 = s. What of V[0] is in the block lies in its last two quads: the head has 37
	// bytes at least.
	o = append(o, "MOVL $64, CX", "SUBQ R13, CX", "VPBROADCASTB CX, Z29", "VPADDB swapped<>(SB), Z29, Z29",
		"VEXTRACTI32X4 $3, Z29, X28", "VPERMI2B Z31, Z30, Z28", "VPORQ X28, X6, X6",
		"VEXTRACTI32X4 $2, Z29, X28", "VPERMI2B Z31, Z30, Z28", "VPORQ X28, X5, X5",
		"LEAQ 64(R12)(R13*1), CX", "SHLQ $3, CX", "ROLQ $32, CX", "VMOVQ CX, X14", "VPSLLDQ $8, X14, X14",
		"LEAQ 72(R12)(R13*1), R12", "SHRQ $6, R12", // blocks: the padding takes 9 bytes at least
		f("VMOVDQU %d(AX), X1", cmInner), f("VMOVDQU %d(AX), X2", cmInner+16), "begun:", "VMOVDQA64 Z31, Z30")
	// The first vector when it is the last, out of line. It takes the nonce's registers.
	in, ol := lastPlace("F", kind == macSeal)
	again := append([]string{f("MOVQ %d(DX), R9", cfLo), f("MOVL %d(DX), R8", cfHi)}, split...)
	out = append(out, "firsttail:")
	out = append(out, in...)
	out = append(out, tailVector(kind)...)
	if kind == macSeal {
		undo, undoOut := unbounceTail("F")
		out = append(append(append(append(out, undo...), again...), "JMP firstdone"), undoOut...)
	} else {
		out = append(append(append(out, "SUBQ $64, R11"), again...), "JMP firstdone")
	}
	out = append(out, ol...)
	return o, out
}

func ctrmac(kind macKind) []string {
	name := []string{"sealCTRMACAVX512", "openCTRMACAVX512", "macAVX512"}[kind]
	doc := f([]string{`func %s(fr *CTRFrame)
		Text of at least 16 bytes and tag go to Dst. With state nil Head and AAD have at most 27 bytes. Else
		it continues from there; it has only whole vectors if more follows.`, `func %s(fr *CTRFrame)
		OK says whether the tag at the end of Src is right, and only then the text goes to Dst. Src has at
		least 16 bytes, the text at most 1536, Head and AAD at most 27.`, `func %s(fr *CTRFrame)
		The HMAC alone of Src, which is ciphertext of at least 16 bytes, goes to Tag. Else as seal.`}[kind], name)
	frame := 64 + macRoom
	if kind == macOpen {
		frame += streamMost + 3*64 + 64 // the padding may take up to three vectors more; 64 to align
	}
	o := text(doc, name, frame, 8)
	if kind == macOpen {
		o[len(o)-1] = f("TEXT ·%s(SB), 0, $%d-8", name, frame)
		o = append(o, "NO_LOCAL_POINTERS", f("LEAQ stream-%d(SP), R14", frame-63), "ANDQ $-64, R14")
	}
	in, out := firstBlock(kind, kind == macOpen, kind != macOpen)
	o = append(append(o, "MOVQ fr+0(FP), DX"), in...)

	o = append(o, begin...)

	// The loop: the block in X3-X6, V[j] in the room's second half.
	late := map[int][]string{
		12: {"MOVQ quads-80(SP), BX"}, 13: nextQuad(0), 14: nextQuad(1),
		15: cat(nextQuad(2), nextQuad(3), []string{"VPADDD X7, X1, X1", "VPADDD X8, X2, X2"}),
	}
	keep := []string{"VMOVDQA X1, X7", "VMOVDQA X2, X8"}
	o = append(o, "loop:", "CMPQ R12, $1", "JEQ last", "DECQ R12", "CMPQ R11, $64", "JLT tail")
	o = append(o, keep...)
	o = append(o, woven(append(shift(), halfVectors(kind)...), late)...)
	o = append(o, "JMP loop", "tail:")
	in, ol := lastPlace("T", kind == macSeal)
	o, out = append(o, in...), append(out, ol...)
	if kind != macOnly { // the counters of four blocks again
		o = append(o, "VPADDD counter2<>(SB), Y27, Y28", "VINSERTI64X4 $1, Y28, Z27, Z27")
	}
	o = append(o, keep...)
	o = append(o, woven(cat(shift(), tailVector(kind), []string{"VMOVDQU64 Z31, 64(CX)"}), late)...)
	undo, undoOut := unbounceTail("T")
	if kind == macSeal {
		o, out = append(o, undo...), append(out, undoOut...)
	} else {
		o = append(o, "SUBQ $64, R11")
	}
	o = append(o, "JMP loop")

	// The last block, and the outer hash.
	o = append(o, "last:", "VPOR X14, X6, X6")
	o = append(o, keep...)
	o = append(o, woven(nil, nil)...)
	o = append(o, "VPADDD X7, X1, X1", "VPADDD X8, X2, X2")
	if kind != macOpen {
		o = append(o, "TESTQ R10, R10", "JNZ suspend", "outer:")
	}
	o = append(o, "VPSHUFD $0x1b, X1, X1", "VPSHUFD $0x1b, X2, X2", "VPUNPCKLQDQ X2, X1, X3", "VPUNPCKHQDQ X2, X1, X4",
		"VMOVDQU shaPad<>(SB), X5", "VMOVDQU shaPad<>+16(SB), X6", f("VMOVDQU %d(AX), X1", cmOuter), f("VMOVDQU %d(AX), X2", cmOuter+16))
	// X1 has A B E F, X2 C D G H from the lowest up.
	o = append(o, woven(nil, nil)...)
	o = append(o, f("VPADDD %d(AX), X1, X1", cmOuter), f("VPADDD %d(AX), X2, X2", cmOuter+16),
		"VPSHUFD $0x1b, X1, X1", "VPSHUFD $0x1b, X2, X2", "VPUNPCKLQDQ X2, X1, X3", "VPUNPCKHQDQ X2, X1, X4", "VPSHUFB swap32<>(SB), X3, X3")
	switch kind {
	case macSeal:
		o = append(o, f("MOVQ %d(DX), DI", cfDst), f("ADDQ %d(DX), DI", cfN))
		o = append(o, putTag("X3", "")...)
	case macOnly:
		o = append(o, "VPSHUFB swap32<>(SB), X4, X4", f("VMOVDQU X3, %d(DX)", cfTag), f("VMOVDQU X4, %d(DX)", cfTag+16))
	case macOpen:
		in, ol := openText([]string{f("LEAQ stream-%d(SP), R14", frame-63), "ANDQ $-64, R14"}, "X")
		o, out = append(o, in...), append(out, ol...)
	}
	o = append(o, "done:", "VPXORQ X16, X16, X16", "VMOVDQU64 Z16, buf-64(SP)")
	o = append(o, wipe()...)
	o = append(o, "RET")
	o = append(o, out...)

	if kind == macOpen {
		return append(o, "")
	}
	// Continue from a state, and leave one behind.
	o = append(o, "resume:", f("MOVQ %d(R10), CX", msPrev), "VMOVDQU64 (CX), Z30", f("MOVQ %d(R10), R13", msFill), "MOVL $64, CX", "SUBQ R13, CX",
		"VPBROADCASTB CX, Z29", "VPADDB swapped<>(SB), Z29, Z29", "VMOVDQU (R10), X1", "VMOVDQU 16(R10), X2",
		f("MOVQ %d(R10), CX", msTotal), "SHLQ $3, CX", "ROLQ $32, CX",
		f("CMPQ %d(R10), $0", msMore), "JNE more", "LEAQ 72(R12)(R13*1), R12", "JMP ending", "more:", "XORL CX, CX",
		"ending:", "SHRQ $6, R12", "VMOVQ CX, X14", "VPSLLDQ $8, X14, X14",
		"VPERMT2B Z31, Z29, Z30", "VMOVDQA64 X30, X3")
	o = append(append(append(o, extract(1, 4)...), extract(2, 5)...), extract(3, 6)...)
	return append(o, "JMP begun",
		"suspend:", f("CMPQ %d(R10), $0", msMore), "JEQ outer", "VMOVDQU X1, (R10)", "VMOVDQU X2, 16(R10)", "JMP done", "")
}

// putTag puts the tag, the first 4 or 8 to 15 bytes of x, to DI; site tells its labels from
// others'.
func putTag(x, site string) []string {
	return []string{f("MOVQ %d(AX), CX", cmTag), f("VMOVQ %s, BX", x), f("VPEXTRQ $1, %s, R8", x),
		"CMPQ CX, $8", f("JLT short%s", site), "MOVQ BX, (DI)", "LEAQ -8(DI)(CX*1), DI", "SHLQ $3, CX", "SHRQ CX, R8, BX", "MOVQ BX, (DI)", f("JMP put%s", site),
		f("short%s:", site), "MOVL BX, (DI)", f("put%s:", site)}
}

// openText compares the tag of the frame at DX, in X3, and then XORs the key stream on
// the text; stream brings the address of that to R14, and site tells its labels from
// others'. It ends at the label done with the site.
func openText(stream []string, site string) (inline, outline []string) {
	// The last 16 bytes of Src end with the tag: turn it to the lowest bytes, zeros
	// behind it. The index of PSHUFB is its low four bits, or zero with bit 7.
	inline = []string{f("MOVQ %d(DX), SI", cfSrc), f("MOVQ %d(DX), R12", cfN), "VMOVDQU -16(SI)(R12*1), X4",
		f("MOVQ %d(AX), CX", cmTag), f("MOVL $%d, BX", 0x70+16), "SUBQ CX, BX", "VPBROADCASTB BX, X16", "VPADDB iota64<>(SB), X16, X16", "VPSHUFB X16, X4, X4",
		"MOVQ $-1, BX", "BZHIQ CX, BX, BX", "KMOVQ BX, K1", "VMOVDQU8.Z X3, K1, X3", "VPXOR X3, X4, X4",
		"VPXORQ X31, X31, X31",
		"SUBQ CX, R12", "MOVQ R12, R11"} // text
	inline = append(inline, stream...)
	inline = append(inline, "VPTEST X4, X4", f("SETEQ %d(DX)", cfOK), "JNE refused"+site,
		f("xor%s:", site), "CMPQ R11, $64", "JLT xortail"+site, "VMOVDQU64 (R14), Z30", "VPXORQ (SI), Z30, Z30", "VMOVDQU64 Z30, (DI)", "VMOVDQU64 Z31, (R14)",
		"ADDQ $64, SI", "ADDQ $64, DI", "ADDQ $64, R14", "SUBQ $64, R11", "JMP xor"+site,
		f("xortail%s:", site))
	place, placeOut := lastPlace("X"+site, true)
	undo, undoOut := unbounceTail("X" + site)
	inline = append(inline, place...)
	inline = append(inline, "VMOVDQU8.Z (R8), K1, Z30", "VPXORQ (R14), Z30, Z30", "VMOVDQU8 Z30, K1, (R9)")
	inline = append(inline, undo...)
	// The vectors behind the text, of the padding, were written as well.
	inline = append(inline, "VMOVDQU64 Z31, (R14)", "VMOVDQU64 Z31, 64(R14)", "VMOVDQU64 Z31, 128(R14)")
	outline = append(placeOut, undoOut...)
	inline = append(inline, f("done%s:", site))
	outline = append(outline, f("refused%s:", site), "VMOVDQU64 Z31, (R14)", "ADDQ $64, R14", "SUBQ $64, R11", "JGE refused"+site,
		"VMOVDQU64 Z31, (R14)", "VMOVDQU64 Z31, 64(R14)", "JMP done"+site)
	return inline, outline
}
