package main

// CTR with HMAC for batches of six to eight short frames: each is encrypted and its whole
// message laid on the stack as by ctrbatch512.go, and then all are hashed in the lanes of
// sha8.go's code, where a block costs less than with the SHA extensions.
//
// Registers while the messages are hashed: those of sha8.go, with R14 the room on the stack, R9 the
// present block of the first message, R12 blocks done, R13 blocks of the longest message, DX
// frames, CX their number, BX scratch, K1 the lanes that end.
//
// A lane without a frame has the first one's key and no block: what it hashes is never kept. When
// a message ends, its state is put aside; what is hashed in its lane behind that is thrown
// away.
//
// Constant time: as in ctrbatch512.go. Every exit clears all vector registers, the states
// and the key streams on the stack.

// The room on the stack.
const (
	b8State  = 0   // states at the start of the block
	b8Ended  = 256 // inner states of the messages that ended
	b8Blocks = 512
	b8Keys   = b8Blocks + 64
	b8Msg    = b8Keys + 64
)

// room8 is the room of one kernel. Open, which keeps key streams, too, takes no long texts.
func room8(kind macKind) batchRoom {
	most := streamMost
	if kind == macOpen {
		most = fourMost
	}
	r := batchRoom{msg: b8Msg, len: most + 2*64, blocks: b8Blocks, keys: b8Keys, frames: 8} // text, two blocks of head and padding
	r.streams = r.msg + r.frames*r.len
	return r
}

func ctrbatch8File() []string {
	o := cat([]string{"#include \"funcdata.h\"", ""}, macTables(), data("swap32x2", 0x0405060700010203, 0x0c0d0e0f08090a0b, 0x0405060700010203, 0x0c0d0e0f08090a0b))
	for _, kind := range []macKind{macSeal, macOpen, macOnly} {
		o = append(o, mac8(kind)...)
	}
	return o
}

func mac8(kind macKind) []string {
	room := room8(kind)
	frame := room.frame(kind)
	name := []string{"sealEightAVX512", "openEightAVX512", "sumEightAVX512"}[kind]
	doc := f([]string{`func %s(frames *CTRFrame, count int)
		Seals 1 to 8 frames, with at most 1536 bytes of text; else they are as for sealCTRMACAVX512.`, `func %s(frames *CTRFrame, count int)
		Opens 1 to 8 frames, with at most 512 bytes of text; else they are as for openCTRMACAVX512.`, `func %s(frames *CTRFrame, count int)
		The first 16 bytes of the HMACs that the tags at the ends of 1 to 8 frames' Src are to be compared with, to their tag fields.
		They are as for openCTRMACAVX512.`}[kind], name)
	o := text(doc, name, frame, 16)
	o[len(o)-1] = f("TEXT ·%s(SB), 0, $%d-16", name, frame)
	o = append(o, "NO_LOCAL_POINTERS", "MOVQ frames+0(FP), DX")
	o = append(o, lay(kind, room, "count+8(FP)")...)
	o = append(o, "MOVQ frames+0(FP), DX", "MOVQ count+8(FP), CX")
	o = append(o, room.at(kind, "R14")...)
	// Lanes without a frame.
	o = append(o, f("MOVQ %d(R14), BX", b8Keys), "XORL AX, AX", "fill:", "CMPQ CX, $8", "JEQ filled", f("MOVQ BX, %d(R14)(CX*8)", b8Keys), f("MOVQ AX, %d(R14)(CX*8)", b8Blocks),
		"INCQ CX", "JMP fill", "filled:", "MOVQ count+8(FP), CX",
		f("LEAQ %d(R14), R9", b8Msg), "XORL R12, R12", "XORL R13, R13", "LEAQ shaK<>(SB), AX")
	for w := range 8 {
		o = append(o, f("MOVQ %d(R14), BX", b8Blocks+8*w), "CMPQ BX, R13; CMOVQGT BX, R13")
	}
	key := func(lane int) string { return f("MOVQ %d(R14), BX", b8Keys+8*lane) }
	o = append(o, sha8States(key, cmInner)...)
	keep := func() (o []string) {
		for i := range 8 {
			o = append(o, f("VMOVDQU64 Y%d, %d(R14)", i, b8State+32*i))
		}
		return o
	}
	addUp := func() (o []string) {
		for i := range 8 {
			o = append(o, f("VPADDD %d(R14), Y%d, Y%d", b8State+32*i, i, i))
		}
		return o
	}
	o = append(o, "block:")
	o = append(o, keep()...)
	o = append(o, sha8Words(func(lane, off int) string { return f("%d(R9)", room.len*lane+off) }, false)...)
	o = append(o, sha8Rounds()...)
	o = append(o, addUp()...)
	o = append(o, "INCQ R12", "ADDQ $64, R9", "VPBROADCASTQ R12, Z16", f("VPCMPEQQ %d(R14), Z16, K1", b8Blocks), "KTESTB K1, K1", "JEQ on")
	for i := range 8 {
		o = append(o, f("VMOVDQU32 Y%d, K1, %d(R14)", i, b8Ended+32*i))
	}
	o = append(o, "on:", "CMPQ R12, R13", "JNE block")
	// The outer hash: its words are the inner states'.
	o = append(o, sha8States(key, cmOuter)...)
	o = append(o, keep()...)
	for i := range 8 {
		o = append(o, f("VMOVDQU64 %d(R14), Y%d", b8Ended+32*i, 16+i))
	}
	o = append(o, "VPBROADCASTD shaPad<>(SB), Y24", "VPBROADCASTD shaPad<>+28(SB), Y31")
	for i := 25; i < 31; i++ {
		o = append(o, f("VPXORQ Y%d, Y%d, Y%d", i, i, i))
	}
	o = append(o, sha8Rounds()...)
	o = append(o, addUp()...)
	// The tags: the first half of each digest, rows r and r+4 in Y16+r.
	o = append(o, turn4([]int{0, 1, 2, 3}, []int{20, 21, 22, 23}, []int{16, 17, 18, 19})...)
	for r := range 4 {
		o = append(o, f("VPSHUFB swap32x2<>(SB), Y%d, Y%d", 16+r, 16+r), f("VMOVDQU64 X%d, %d(R14)", 16+r, b8Ended+16*r), f("VEXTRACTI64X2 $1, Y%d, %d(R14)", 16+r, b8Ended+16*(r+4)))
	}
	// Frame by frame: R10 the number.
	o = append(o, "XORL R10, R10", "tag:", "MOVQ (DX), AX", "MOVQ (AX), AX", "MOVQ R10, BX", "SHLQ $4, BX", f("VMOVDQU %d(R14)(BX*1), X3", b8Ended), f("MOVQ %d(DX), DI", cfDst))
	var out []string
	switch kind {
	case macSeal:
		o = append(o, f("ADDQ %d(DX), DI", cfN))
		o = append(o, putTag("X3", "")...)
	case macOnly:
		o = append(o, f("VMOVDQU X3, %d(DX)", cfTag))
	default:
		o = append(o, "MOVQ R10, number-72(SP)")
		in, ol := openText(append(room.at(kind, "R14"), f("IMUL3Q $%d, R10, BX", b4Keys), f("LEAQ %d(R14)(BX*1), R14", room.streams)), "X")
		o, out = append(o, in...), append(out, ol...)
		o = append(o, "MOVQ number-72(SP), R10")
		o = append(o, room.at(kind, "R14")...)
	}
	o = append(o, f("ADDQ $%d, DX", cfSize), "INCQ R10", "CMPQ R10, count+8(FP)", "JNE tag", "VPXORQ X31, X31, X31")
	for i := range (b8Ended + 256) / 64 {
		o = append(o, f("VMOVDQU64 Z31, %d(R14)", 64*i))
	}
	o = append(o, "VMOVDQU64 Z31, buf-64(SP)")
	o = append(o, wipe()...)
	return append(append(append(o, "RET"), out...), "")
}
