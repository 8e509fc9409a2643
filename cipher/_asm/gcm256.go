package main

// AES-GCM for CPUs with VAES and VPCLMULQDQ on 256-bit registers but without
// AVX-512 (Zen 3, Alder Lake). The plan is that of gcm512.go with half the
// width, sixteen registers, no masks and no first-round table: a straight line
// for up to 256 bytes, a loop of 256 bytes (eight vectors, 16 blocks) above. The
// product is schoolbook: Karatsuba's tables and temporaries do not pay with
// this few registers.
//
// General registers are as in gcm512.go, and so are the key, frame and state
// layouts. R14 points at the mask of the last vector. A last vector of less than
// 32 bytes goes through the stack both ways.
//
//	Y0-Y7 AES blocks   Y8 round key   Y9 Y10 Y11 low, middle, high product
//	X12 E(J0)   Y13 Y14 scratch   Y15 counters, reflected   X12 state in the loop
//
// Constant time: as in gcm512.go. Every exit clears all registers and the buffer.

const chunk256 = 256

func gcm256File() []string {
	var counts []uint64
	for i := range 8 {
		counts = append(counts, uint64(2*i), 0, uint64(2*i), 0)
	}
	masks := make([]byte, 64)
	for i := range 32 {
		masks[i] = 0xff
	}
	o := cat(
		data("bswap2", 0x08090a0b0c0d0e0f, 0x0001020304050607, 0x08090a0b0c0d0e0f, 0x0001020304050607),
		data("count12", 1, 0, 2, 0),
		data("count01", 0, 0, 1, 0),
		data("count16", 16, 0, 16, 0),
		data("counts", counts...),
		data("reduce2", 1, 0xc200000000000000, 1, 0xc200000000000000),
		bytesData("masks", masks),
	)
	for _, nr := range []int{10, 14} {
		o = append(o, frames256(nr, true)...)
		o = append(o, frames256(nr, false)...)
		o = append(o, body256(nr, true)...)
		o = append(o, body256(nr, false)...)
	}
	o = append(o, hash256()...)
	for _, nr := range []int{10, 14} {
		o = append(o, ctr256(nr)...)
	}
	return o
}

// aes256 encrypts n counter vectors, and J0 in X12 if it is wanted, up to the last
// round, whose key is left in Y8.
func aes256(nr, n int, j0 bool) []string {
	var o []string
	for i := range n {
		o = append(o, f("VPADDD counts<>+%d(SB), Y15, Y%d", 32*i, i), f("VPSHUFB bswap2<>(SB), Y%d, Y%d", i, i))
	}
	for r := 0; r <= nr; r++ {
		o = append(o, f("VBROADCASTI128 %d(AX), Y8", 16*r))
		op := map[bool]string{true: "VPXOR", false: "VAESENC"}[r == 0]
		for i := 0; i < n && r < nr; i++ {
			o = append(o, f("%s Y8, Y%d, Y%d", op, i, i))
		}
		if r == nr {
			op = "VAESENCLAST"
		}
		if j0 {
			o = append(o, f("%s X8, X12, X12", op))
		}
	}
	return o
}

// product multiplies reg by the powers at addr; first sets the sums, else it
// adds to them. It needs Y13 beside reg.
func product(reg, addr string, first bool) []string {
	var o []string
	for _, p := range []struct{ imm, acc string }{{"00", "Y9"}, {"11", "Y11"}, {"01", "Y10"}, {"10", ""}} {
		if first && p.acc != "" {
			o = append(o, f("VPCLMULQDQ $0x%s, %s, %s, %s", p.imm, addr, reg, p.acc))
			continue
		}
		if p.acc == "" {
			p.acc = "Y10"
		}
		o = append(o, f("VPCLMULQDQ $0x%s, %s, %s, Y13", p.imm, addr, reg), f("VPXOR Y13, %s, %s", p.acc, p.acc))
	}
	return o
}

// ends256 multiplies the AAD block or state (X14) by its power and adds the length
// block's product.
func ends256() []string {
	return cat(
		[]string{"VMOVDQU -16(DX)(R10*1), X8", "VINSERTI128 $1, len-32(SP), Y14, Y14", f("VINSERTI128 $1, %d(AX), Y8, Y8", offH1)},
		product("Y14", "Y8", true))
}

// fold256 reduces the sums and adds their lanes: the state, in dst.
func fold256(dst string) []string {
	return []string{
		"VPCLMULQDQ $0x10, reduce2<>(SB), Y9, Y13", "VPSHUFD $0x4e, Y9, Y9", "VPXOR Y13, Y10, Y10", "VPXOR Y9, Y10, Y10",
		"VPCLMULQDQ $0x10, reduce2<>(SB), Y10, Y13", "VPSHUFD $0x4e, Y10, Y10", "VPXOR Y13, Y11, Y11", "VPXOR Y10, Y11, Y11",
		"VEXTRACTI128 $1, Y11, X13", f("VPXOR X13, X11, %s", dst),
	}
}

func wipe256() []string {
	var o []string
	for i := range 16 {
		o = append(o, f("VPXOR X%d, X%d, X%d", i, i, i))
	}
	return append(o, "VZEROUPPER")
}

// last256 is lastVector for vectors of 32 bytes; it goes on at v1 … v8.
func last256() []string {
	o := []string{
		"LEAQ -1(R11), BX", "MOVQ BX, CX", "ANDQ $-32, BX", "LEAQ (SI)(BX*1), R12", "LEAQ (DI)(BX*1), R13",
		"ANDQ $31, CX", "INCQ CX", "LEAQ masks<>+32(SB), R14", "SUBQ CX, R14", "CMPQ CX, $32", "JNE bounce", "bounced:",
	}
	for n := 1; n < 8; n++ {
		o = append(o, f("CMPQ R11, $%d", 32*n), f("JLS v%d", n))
	}
	return o
}

func bounces256() []string {
	return []string{
		"bounce:", "MOVQ SI, R9", "MOVQ DI, BX", "MOVQ R12, SI", "LEAQ buf-64(SP), DI", "MOVQ DI, R12", "MOVQ DI, R13", "REP; MOVSB",
		"MOVQ R9, SI", "MOVQ BX, DI", "JMP bounced",
		"unbounce:", "LEAQ -1(R11), CX", "MOVQ CX, DX", "ANDQ $-32, DX", "ADDQ DX, DI", "ANDQ $31, CX", "INCQ CX", "MOVQ BX, SI", "REP; MOVSB",
		"VPXOR X13, X13, X13", "VMOVDQU Y13, (BX)", "JMP done",
	}
}

func unbounce256() []string {
	return []string{"LEAQ buf-64(SP), BX", "CMPQ R13, BX", "JEQ unbounce", "done:"}
}

func small256(nr, n int, seal bool) []string {
	o := []string{f("v%d:", n)}
	o = append(o, ends256()...)
	o = append(o, "VMOVDQU j0-16(SP), X12")
	addr := func(i int) string {
		if i == n-1 {
			return "(R12)"
		}
		return f("%d(SI)", 32*i)
	}
	out := func(i int) string {
		if i == n-1 {
			return "(R13)"
		}
		return f("%d(DI)", 32*i)
	}
	absorb := func(i int) []string {
		return cat([]string{"VPSHUFB bswap2<>(SB), Y14, Y14"}, product("Y14", f("%d(DX)", 32*i), false))
	}
	var g []string
	if !seal {
		for i := range n {
			g = append(g, f("VMOVDQU %s, Y14", addr(i)))
			if i == n-1 {
				g = append(g, "VPAND (R14), Y14, Y14")
			}
			g = append(g, absorb(i)...)
		}
	}
	o = append(o, merge(aes256(nr, n, true), g)...)
	for i := range n {
		o = append(o, f("VPXOR %s, Y8, Y14", addr(i)), f("VAESENCLAST Y14, Y%d, Y%d", i, i), f("VMOVDQU Y%d, %s", i, out(i)))
	}
	if seal {
		for i := range n {
			if i == n-1 {
				o = append(o, f("VPAND (R14), Y%d, Y%d", i, i))
			}
			o = append(o, f("VMOVDQA Y%d, Y14", i))
			o = append(o, absorb(i)...)
		}
	}
	return append(o, "JMP finish")
}

func frames256(nr int, seal bool) []string {
	name := f("seal%dAVX2", bits(nr))
	if !seal {
		name = f("open%dAVX2", bits(nr))
	}
	o := text(f(`func %s(frames *GCMFrame, count int)
		AES-%d-GCM, as its AVX512 twin, but without Head and with at most 16 bytes of AAD.`, name, bits(nr)), name, 96, 16)
	o = append(o, "MOVQ frames+0(FP), DX", "MOVQ count+8(FP), CX", "frame:", "MOVQ DX, job-72(SP)", "MOVQ CX, left-80(SP)")
	o = append(o, loadFrame(seal)...)
	o = append(o, f("MOVQ %d(DX), R8", frameNonce), f("MOVQ %d(DX), R9", frameNonce+8), "BSWAPQ R8", "BSWAPQ R9")
	o = append(o, "LEAQ 1(R9), CX", "VMOVQ CX, X15", "VPINSRQ $1, R8, X15, X15", "VPSHUFB bswap2<>(SB), X15, X14", "VMOVDQU X14, j0-16(SP)",
		"VINSERTI128 $1, X15, Y15, Y15", "VPADDD count12<>(SB), Y15, Y15",
		// AAD block, reflected: bytes gathered into two words
		f("MOVQ %d(DX), R10", frameAAD), f("MOVQ %d(DX), CX", frameAADN), "XORL R12, R12", "XORL R13, R13",
		"TESTQ CX, CX", "JZ noaad", "MOVQ CX, BX", "CMPQ BX, $8", "JLS lowaad",
		"MOVQ (R10), R12", "BSWAPQ R12", "SUBQ $8, BX", "ADDQ $8, R10",
		"highaad:", "SHLQ $8, R13", "MOVBQZX (R10), R14", "ORQ R14, R13", "INCQ R10", "DECQ BX", "JNZ highaad",
		"MOVQ CX, BX", "NEGQ CX", "ADDQ $16, CX", "SHLQ $3, CX", "SHLQ CX, R13", "MOVQ BX, CX", "JMP noaad",
		"lowaad:", "SHLQ $8, R12", "MOVBQZX (R10), R14", "ORQ R14, R12", "INCQ R10", "DECQ BX", "JNZ lowaad",
		"MOVQ CX, BX", "NEGQ CX", "ADDQ $8, CX", "SHLQ $3, CX", "SHLQ CX, R12", "MOVQ BX, CX",
		"noaad:", "VMOVQ R13, X14", "VPINSRQ $1, R12, X14, X14",
		"SHLQ $3, CX", "LEAQ (R11*8), BX", "VMOVQ BX, X13", "VPINSRQ $1, CX, X13, X13",
		"XORL R10, R10", f("MOVQ %d(DX), CX", frameState), "TESTQ CX, CX", "JNZ resume",
		"begin:", "VMOVDQU X13, len-32(SP)", f("CMPQ R11, $%d", chunk256), "JHI long",
		"small:", "XORL R13, R13",
		"LEAQ 15(R11), DX", "ANDQ $-16, DX", "NEGQ DX", f("LEAQ %d(AX)(DX*1), DX", offH1), "TESTQ R11, R11", "JZ v0")
	o = append(o, last256()...)
	for n := 8; n > 0; n-- {
		o = append(o, small256(nr, n, seal)...)
	}
	o = append(o, "v0:")
	o = append(o, ends256()...)
	o = append(o, "VMOVDQU j0-16(SP), X12")
	o = append(o, aes256(nr, 0, true)...)
	o = append(o, "finish:")
	o = append(o, fold256("X11")...)
	o = append(o, "VPSHUFB bswap2<>(SB), X11, X11", "VPXOR X12, X11, X11")
	if seal {
		// the tag after the text: a bounced last vector is not yet in place, but does not reach here
		o = append(o, "VMOVDQU X11, (DI)(R11*1)")
	} else {
		o = append(o, "VPXOR (SI)(R11*1), X11, X11", "VPTEST X11, X11", "MOVQ job-72(SP), DX", f("SETEQ %d(DX)", frameOK))
	}
	o = append(o, unbounce256()...)
	o = append(o, "MOVQ job-72(SP), DX", f("ADDQ $%d, DX", frameSize), "MOVQ left-80(SP), CX", "DECQ CX", "JNZ frame")
	o = append(o, wipe256()...)
	o = append(o, "RET")
	o = append(o, bounces256()...)
	o = append(o, "resume:", f("VPXOR %d(CX), X14, X14", stY), f("MOVQ %d(CX), BX", stTextBits), "VMOVQ BX, X12", "VPADDQ X12, X13, X13",
		f("VPINSRQ $1, %d(CX), X13, X13", stAADBits), f("VMOVD %d(CX), X12", stBlocks), "VINSERTI128 $1, X12, Y12, Y12", "VPADDD Y12, Y15, Y15",
		f("MOVQ %d(CX), R10", stSkip), "JMP begin",
		"long:")
	state := cat([]string{f("VMOVDQU %d(AX)(R10*1), X12", offH1)}, product("Y14", "Y12", true), fold256("X12"))
	o = append(o, loop256(nr, seal, state, chunk256)...)
	return append(o, "VMOVDQA X12, X14", "MOVL $16, R10", "JMP small", "")
}

func body256(nr int, seal bool) []string {
	name := f("sealBody%dAVX2", bits(nr))
	if !seal {
		name = f("openBody%dAVX2", bits(nr))
	}
	o := text(f(`func %s(k *gcmKey, dst, src *byte, n int, hi, lo uint64, st *gcmState)
		As its AVX512 twin.`, name), name, 0, 56)
	o = append(o, loadArgs()...)
	o = append(o, "MOVQ st+48(FP), CX", f("VMOVDQU %d(CX), X12", stY), f("ADDQ %d(CX), R9", stBlocks),
		"LEAQ 1(R9), CX", "VMOVQ CX, X15", "VPINSRQ $1, R8, X15, X15", "VINSERTI128 $1, X15, Y15, Y15", "VPADDD count12<>(SB), Y15, Y15")
	o = append(o, loop256(nr, seal, nil, 0)...)
	o = append(o, "MOVQ st+48(FP), CX", f("VMOVDQU X12, %d(CX)", stY))
	o = append(o, wipe256()...)
	return append(o, "RET", "")
}

// loop256 is loop of gcm512.go: Seal hashes the chunk before, Open the same one.
// The state is in X12.
func loop256(nr int, seal bool, state []string, floor int) []string {
	next := []string{f("ADDQ $%d, SI", chunk256), f("ADDQ $%d, DI", chunk256), f("SUBQ $%d, R11", chunk256), f("CMPQ R11, $%d", floor)}
	crypt := func() []string {
		return append(aes256(nr, 8, false), "VPADDD count16<>(SB), Y15, Y15")
	}
	finish := func() []string {
		var o []string
		for i := range 8 {
			o = append(o, f("VPXOR %d(SI), Y8, Y14", 32*i), f("VAESENCLAST Y14, Y%d, Y%d", i, i), f("VMOVDQU Y%d, %d(DI)", i, 32*i))
		}
		return o
	}
	hash := func(base string, off int) []string {
		var o []string
		for i := range 8 {
			o = append(o, f("VMOVDQU %d(%s), Y14", 32*i+off, base), "VPSHUFB bswap2<>(SB), Y14, Y14")
			if i == 0 {
				o = append(o, "VPXOR Y12, Y14, Y14") // the state's upper lane is zero
			}
			o = append(o, product("Y14", f("%d(AX)", offPow+16*(powTop-16)+32*i), i == 0)...)
		}
		return append(o, fold256("X12")...)
	}
	if seal {
		return cat(state, crypt(), finish(), next, []string{"JLS drain", "loop:"},
			merge(crypt(), hash("DI", -chunk256)), finish(), next, []string{"JHI loop", "drain:"}, hash("DI", -chunk256))
	}
	return cat(state, []string{"loop:"}, merge(crypt(), hash("SI", 0)), finish(), next, []string{"JHI loop"})
}

func hash256() []string {
	o := text(`func hashAVX2(k *gcmKey, y *[2]uint64, p *byte, n int)
		As hashAVX512.`, "hashAVX2", 64, 32)
	mul := func(pow string) []string {
		return cat([]string{"VPSHUFB bswap2<>(SB), Y14, Y14", "VPXOR Y12, Y14, Y14"}, product("Y14", pow, true), fold256("X12"))
	}
	o = append(o, "MOVQ k+0(FP), AX", "MOVQ y+8(FP), DX", "MOVQ p+16(FP), SI", "MOVQ n+24(FP), R11", "VMOVDQU (DX), X12",
		"turn:", "CMPQ R11, $32", "JB tail", "VMOVDQU (SI), Y14")
	o = append(o, mul(f("%d(AX)", offH1-16))...)
	o = append(o, "ADDQ $32, SI", "SUBQ $32, R11", "JMP turn",
		"tail:", "TESTQ R11, R11", "JZ end",
		"VPXOR X14, X14, X14", "LEAQ buf-64(SP), DI", "VMOVDQU Y14, (DI)", "MOVQ R11, CX", "REP; MOVSB", "VMOVDQU buf-64(SP), Y14",
		"LEAQ 15(R11), BX", "ANDQ $-16, BX", "NEGQ BX", f("LEAQ %d(AX)(BX*1), BX", offH1+16))
	o = append(o, mul("(BX)")...)
	o = append(o, "end:", "VMOVDQU X12, (DX)")
	o = append(o, wipe256()...)
	return append(o, "RET", "")
}

func ctr256(nr int) []string {
	name := f("ctr%dAVX2", bits(nr))
	o := text(f(`func %s(rk *schedule, dst, src *byte, n int, hi, lo, block uint64)
		As its AVX512 twin.`, name), name, 64, 56)
	o = append(o, "MOVQ rk+0(FP), AX")
	o = append(o, loadArgs()[1:]...)
	o = append(o, "MOVQ block+48(FP), CX", "ADDQ R9, CX", "VMOVQ CX, X15", "VPINSRQ $1, R8, X15, X15",
		"VINSERTI128 $1, X15, Y15, Y15", "VPADDD count01<>(SB), Y15, Y15",
		f("CMPQ R11, $%d", chunk256), "JLS small", "turn:")
	vector := func(i int, src, dst string) []string {
		return []string{f("VPXOR %s, Y8, Y14", src), f("VAESENCLAST Y14, Y%d, Y%d", i, i), f("VMOVDQU Y%d, %s", i, dst)}
	}
	o = append(o, aes256(nr, 8, false)...)
	for i := range 8 {
		o = append(o, vector(i, f("%d(SI)", 32*i), f("%d(DI)", 32*i))...)
	}
	o = append(o, "VPADDD count16<>(SB), Y15, Y15", "ADDQ $256, SI", "ADDQ $256, DI", "SUBQ $256, R11", "CMPQ R11, $256", "JHI turn", "small:")
	o = append(o, last256()...)
	for n := 8; n > 0; n-- {
		o = append(o, f("v%d:", n))
		o = append(o, aes256(nr, n, false)...)
		for i := range n - 1 {
			o = append(o, vector(i, f("%d(SI)", 32*i), f("%d(DI)", 32*i))...)
		}
		o = append(o, vector(n-1, "(R12)", "(R13)")...)
		if n > 1 {
			o = append(o, "JMP finish")
		}
	}
	o = append(o, "finish:")
	o = append(o, unbounce256()...)
	o = append(o, wipe256()...)
	o = append(o, "RET")
	o = append(o, bounces256()...)
	return append(o, "")
}
