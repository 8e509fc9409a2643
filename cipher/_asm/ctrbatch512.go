package main

// CTR with HMAC for batches, four frames at a time (ctrbatch8.go has six and more at once): each is encrypted and its whole
// message, padded and in SHA's byte order, laid on the stack; then the four messages are
// hashed side by side and their HMACs finished.
//
// What bounds it (Zen 5, measured): SHA256RNDS2 starts every 2 cycles and takes 4, so two
// messages could keep the unit busy if nothing ever came late; with four there is room
// for it: 72 cycles for a block of each, where the unit's bound is 64, three messages of
// shaBlocks3 take 74 and two 85. SHA256MSG1 and MSG2 would need the registers of two
// messages: the schedule of all four is computed in 512-bit registers instead, a quad of
// each per register, in 20 instructions a quad where the SHA extensions take 4 times 5.
// Words and constants go to the stack in one store of 64 bytes, and each half of a quad
// comes back by one load, where PSHUFD would stand otherwise.
//
// Registers while a frame is laid: those of the kernels for one frame, with R10 the number
// of the frame and R14 where its message goes. While all are hashed: X1 … X8 states, two
// of each message; X0 X9 words and constants, digests; Z16-Z19 quads; X20-X27 states at
// the start of the block; Z28-Z31 scratch; DX frames; R9 messages; R12 blocks done;
// R13 blocks of the longest message; R14 the stack's aligned room (offsets below); AX BX CX
// R8 DI scratch.
//
// Messages may have different lengths: every state is put aside when its message ends,
// and what is hashed behind that, whatever lies there, is thrown away.
//
// Constant time: as in the kernels for one frame, instructions and addresses depend on
// lengths and pointers only; checked by reading. Every exit clears all vector registers
// and what of states and schedules is on the stack; the messages are ciphertext.

// The room on the stack.
const (
	b4Words  = 0               // words and constants of four groups of rounds
	b4State  = 256             // inner states of the messages that ended
	b4Blocks = b4State + 128   // of each message
	b4Msg    = b4Blocks + 64   // messages
	b4Len    = 64 * 26         // of one: of streamMost bytes, two blocks of head and padding
	b4Stream = b4Msg + 4*b4Len // key streams, if any
	b4Keys   = 512 + 3*64      // of one: of fourMost bytes, and three vectors of padding
)

// fourMost is the longest text in bytes that openFourAVX512 takes.
const fourMost = 512

// batchRoom says what is where in the room of a kernel for several frames.
type batchRoom struct {
	msg, len int // messages, and the length of one
	blocks   int // of each message, as 64 bits
	streams  int // key streams, if any
	keys     int // pointers to the frames' keys, or 0
	frames   int // at most
}

var room4 = batchRoom{msg: b4Msg, len: b4Len, blocks: b4Blocks, streams: b4Stream, frames: 4}

// frame is the size of the frame on the stack: above the room are the buffer for a last vector and two words.
func (r batchRoom) frame(kind macKind) int {
	size := r.streams + 64 // 64 to align
	if kind == macOpen {
		size += r.frames * b4Keys
	}
	return size + 80
}

// at brings the room's address to a register.
func (r batchRoom) at(kind macKind, reg string) []string {
	return []string{f("LEAQ room-%d(SP), %s", r.frame(kind)-63, reg), f("ANDQ $-64, %s", reg)}
}

// cfSize is the size of a CTRFrame.
const cfSize = 160

func ctrbatchFile() []string {
	var k []byte
	for i := range 16 {
		for range 4 {
			for _, w := range shaConstants()[4*i : 4*i+4] {
				k = append(k, byte(w), byte(w>>8), byte(w>>16), byte(w>>24))
			}
		}
	}
	o := cat([]string{"#include \"funcdata.h\"", ""}, macTables(), bytesData("shaK4", k))
	for _, kind := range []macKind{macSeal, macOpen, macOnly} {
		o = append(o, clean(mac4(kind))...)
	}
	return o
}

// lay encrypts the frames at DX, or takes them as they are, and lays their messages.
// For open it lays their key streams, too. R10 ends as their number.
func lay(kind macKind, r batchRoom, number string) []string {
	o := append([]string{"XORL R10, R10", "frame:", "MOVQ R10, number-72(SP)"}, r.at(kind, "R14")...)
	o = append(o, f("IMUL3Q $%d, R10, CX", r.len))
	if kind == macOpen {
		o = append(o, f("IMUL3Q $%d, R10, BX", b4Keys))
	}
	o = append(o, f("LEAQ %d(R14)(CX*1), R10", r.msg))
	if kind == macOpen {
		o = append(o, f("LEAQ %d(R14)(BX*1), R14", r.streams))
	}
	in, out := firstBlock(kind, kind != macSeal, false)
	o = append(append(o, in...), r.at(kind, "CX")...)
	// The length in the last quad of Z14.
	o = append(o, "MOVQ number-72(SP), BX", f("MOVQ R12, %d(CX)(BX*8)", r.blocks))
	if r.keys > 0 {
		o = append(o, f("MOVQ AX, %d(CX)(BX*8)", r.keys))
	}
	o = append(o, "VPXORQ X28, X28, X28", "VINSERTI32X4 $3, X14, Z28, Z14",
		"CMPQ R12, $1", "JNE long", "VEXTRACTI32X4 $3, Z14, X9", "VPOR X9, X6, X6", "long:",
		"VMOVDQU X3, (R10)", "VMOVDQU X4, 16(R10)", "VMOVDQU X5, 32(R10)", "VMOVDQU X6, 48(R10)",
		"loop:", "ADDQ $64, R10", "DECQ R12", "JEQ laid", "CMPQ R11, $64", "JLT tail")
	o = append(o, fullVector(kind)...)
	o = append(o, "next:", "VPERMT2B Z31, Z29, Z30", "CMPQ R12, $1", "JNE store", "VPORQ Z14, Z30, Z30",
		"store:", "VMOVDQU64 Z30, (R10)", "VMOVDQA64 Z31, Z30", "JMP loop",
		"laid:", f("ADDQ $%d, DX", cfSize), "MOVQ number-72(SP), R10", "INCQ R10", f("CMPQ R10, %s", number), "JNE frame", "JMP hash", "tail:")
	place, ol := lastPlace("T", kind == macSeal)
	o, out = append(o, place...), append(out, ol...)
	o = append(o, tailVector(kind)...)
	if kind == macSeal {
		undo, undoOut := unbounceTail("T")
		o, out = append(o, undo...), append(out, undoOut...)
	} else {
		o = append(o, "SUBQ $64, R11")
	}
	return append(append(append(o, "JMP next"), out...), "hash:")
}

// schedule4 brings the quad four behind q into its register, of all four messages.
func schedule4(i int) []string {
	q := func(j int) int { return 16 + (i+j)%4 }
	sigma := func(src, dst string, r1, r2, shift int) []string {
		return []string{f("VPRORD $%d, %s, Z29", r1, src), f("VPRORD $%d, %s, Z30", r2, src), f("VPSRLD $%d, %s, %s", shift, src, src),
			f("VPTERNLOGD $0x96, Z29, Z30, %s", src), f("VPADDD %s, %s, %s", src, dst, dst)}
	}
	to := f("Z%d", q(0))
	o := []string{f("VPALIGNR $4, Z%d, Z%d, Z28", q(0), q(1)), f("VPALIGNR $4, Z%d, Z%d, Z31", q(2), q(3)), f("VPADDD Z31, %s, %s", to, to)}
	o = append(o, sigma("Z28", to, 7, 18, 3)...)
	// Words 0 and 1 from the last two of the quad before, then 2 and 3 from them.
	o = append(o, f("VPSRLDQ $8, Z%d, Z28", q(3)))
	o = append(o, sigma("Z28", to, 17, 19, 10)...)
	o = append(o, f("VPSLLDQ $8, %s, Z28", to))
	return append(o, sigma("Z28", to, 17, 19, 10)...)
}

// rounds4 is one block of four messages, whose quads are in Z16-Z19.
func rounds4() []string {
	const rooms = 4 // of words and constants, so that no store waits for the loads before it
	add := func(i int) []string {
		return []string{f("VPADDD shaK4<>+%d(SB), Z%d, Z31", 64*i, 16+i%4), f("VMOVDQA64 Z31, %d(R14)", 64*(i%rooms))}
	}
	o := add(0)
	for i := range 16 {
		var g, side []string
		if i < 15 {
			side = add(i + 1)
		}
		for half := range 2 {
			for w := range 4 {
				a, b := 1+2*w, 2+2*w
				if half == 1 {
					a, b = b, a
				}
				g = append(g, f("MOVQ %d(R14), X0", 64*(i%rooms)+16*w+8*half), f("SHA256RNDS2 X0, X%d, X%d", a, b))
			}
		}
		if i < 12 {
			side = append(side, schedule4(i)...)
		}
		o = append(o, merge(g, side)...)
	}
	return o
}

func mac4(kind macKind) []string {
	frame := room4.frame(kind)
	name := []string{"sealFourAVX512", "openFourAVX512", "sumFourAVX512"}[kind]
	doc := f([]string{`func %s(frames *CTRFrame)
		Seals four frames, with at most 1536 bytes of text; else they are as for sealCTRMACAVX512.`, `func %s(frames *CTRFrame)
		Opens four frames, with at most 512 bytes of text; else they are as for openCTRMACAVX512.`, `func %s(frames *CTRFrame)
		The HMACs that the tags at the ends of four frames' Src are to be compared with, to their tag fields.
		They are as for openCTRMACAVX512.`}[kind], name)
	o := text(doc, name, frame, 8)
	o[len(o)-1] = f("TEXT ·%s(SB), 0, $%d-8", name, frame)
	o = append(o, "NO_LOCAL_POINTERS", "MOVQ frames+0(FP), DX")
	o = append(o, lay(kind, room4, "$4")...)
	o = append(o, "MOVQ frames+0(FP), DX")
	o = append(o, room4.at(kind, "R14")...)
	o = append(o, f("LEAQ %d(R14), R9", b4Msg), "XORL R12, R12", "XORL R13, R13", "VZEROUPPER")
	for w := range 4 {
		o = append(o, f("MOVQ %d(R14), CX", b4Blocks+8*w), "CMPQ CX, R13; CMOVQGT CX, R13",
			f("MOVQ %d(DX), AX", cfSize*w), "MOVQ (AX), AX", f("VMOVDQU %d(AX), X%d", cmInner, 1+2*w), f("VMOVDQU %d(AX), X%d", cmInner+16, 2+2*w))
	}
	o = append(o, "block:")
	for i := range 4 {
		o = append(o, f("VMOVDQU64 %d(R9), X%d", 16*i, 16+i))
		for w := 1; w < 4; w++ {
			o = append(o, f("VINSERTI32X4 $%d, %d(R9), Z%d, Z%d", w, 16*i+b4Len*w, 16+i, 16+i))
		}
	}
	keep := func() (o []string) {
		for w := range 8 {
			o = append(o, f("VMOVDQA64 X%d, X%d", 1+w, 20+w))
		}
		return o
	}
	addUp := func() (o []string) {
		for w := range 8 {
			o = append(o, f("VPADDD X%d, X%d, X%d", 20+w, 1+w, 1+w))
		}
		return o
	}
	o = append(o, keep()...)
	o = append(o, rounds4()...)
	o = append(o, addUp()...)
	o = append(o, "INCQ R12", "ADDQ $64, R9")
	for w := range 4 {
		o = append(o, f("CMPQ R12, %d(R14)", b4Blocks+8*w), f("JNE on%d", w),
			f("VMOVDQU X%d, %d(R14)", 1+2*w, b4State+32*w), f("VMOVDQU X%d, %d(R14)", 2+2*w, b4State+32*w+16), f("on%d:", w))
	}
	o = append(o, "CMPQ R12, R13", "JNE block")
	// The outer hash.
	words := func(w int) []string {
		a, b := 1+2*w, 2+2*w
		return []string{f("VPSHUFD $0x1b, X%d, X%d", a, a), f("VPSHUFD $0x1b, X%d, X%d", b, b),
			f("VPUNPCKLQDQ X%d, X%d, X0", b, a), f("VPUNPCKHQDQ X%d, X%d, X9", b, a)}
	}
	for w := range 4 {
		o = append(o, f("VMOVDQU %d(R14), X%d", b4State+32*w, 1+2*w), f("VMOVDQU %d(R14), X%d", b4State+32*w+16, 2+2*w))
		o = append(o, words(w)...)
		if w == 0 {
			o = append(o, "VMOVDQA64 X0, X16", "VMOVDQA64 X9, X17")
		} else {
			o = append(o, f("VINSERTI32X4 $%d, X0, Z16, Z16", w), f("VINSERTI32X4 $%d, X9, Z17, Z17", w))
		}
		o = append(o, f("MOVQ %d(DX), AX", cfSize*w), "MOVQ (AX), AX", f("VMOVDQU %d(AX), X%d", cmOuter, 1+2*w), f("VMOVDQU %d(AX), X%d", cmOuter+16, 2+2*w))
	}
	o = append(o, "VBROADCASTI32X4 shaPad<>(SB), Z18", "VBROADCASTI32X4 shaPad<>+16(SB), Z19")
	o = append(o, keep()...)
	o = append(o, rounds4()...)
	o = append(o, addUp()...)
	for w := range 4 {
		o = append(o, words(w)...)
		o = append(o, "VPSHUFB swap32<>(SB), X0, X0")
		if kind == macSeal {
			o = append(o, f("MOVQ %d(DX), AX", cfSize*w), "MOVQ (AX), AX", f("MOVQ %d(DX), DI", cfSize*w+cfDst), f("ADDQ %d(DX), DI", cfSize*w+cfN))
			o = append(o, putTag("X0", f("tag%d", w))...)
		} else {
			o = append(o, "VPSHUFB swap32<>(SB), X9, X9", f("VMOVDQU X0, %d(DX)", cfSize*w+cfTag), f("VMOVDQU X9, %d(DX)", cfSize*w+cfTag+16))
		}
	}
	o = append(o, "VPXORQ X31, X31, X31")
	for i := range 6 { // words, inner states
		o = append(o, f("VMOVDQA64 Z31, %d(R14)", 64*i))
	}
	var out []string
	if kind == macOpen {
		for w := range 4 {
			in, ol := openText(append(room4.at(kind, "R14"), f("ADDQ $%d, R14", b4Stream+b4Keys*w)), f("%d", w))
			o = append(o, "MOVQ (DX), AX", "MOVQ (AX), AX", f("MOVQ %d(DX), DI", cfDst), f("VMOVDQU %d(DX), X3", cfTag))
			o = append(append(o, in...), f("ADDQ $%d, DX", cfSize))
			out = append(out, ol...)
		}
	}
	o = append(o, "VPXORQ X31, X31, X31", "VMOVDQU64 Z31, buf-64(SP)")
	o = append(o, wipe()...)
	return append(append(append(o, "RET"), out...), "")
}
