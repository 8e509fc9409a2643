package main

// SHA-256's block function for eight messages, one in each 32-bit lane of 256-bit
// registers, with the rotations and three-operand logic of AVX-512.
//
// What bounds it: a round takes 17 instructions and a word of the schedule 11, 1,666 with
// loading for eight blocks. Three vector units make that 555 cycles, 69 a block
// (Granite Rapids; 76 measured; there SHA256RNDS2 starts every 3 cycles, 96 a block whatever runs
// beside it), and four 52 (Zen 5, computed; 77 measured: there the latency of 2 cycles an instruction
// bounds it, and four messages in the SHA extensions take 72).
//
// Registers: Y0-Y7 state, Y8-Y15 scratch, Y16-Y31 the last sixteen words; SI DI R8-R13 messages,
// BX offset in them, CX its end, AX round constants, DX lanes and BX scratch.
//
// A quarter of the messages' words, or half of the states, is a matrix of eight rows of four: rows r and r+4 come
// into the halves of a register, and two steps of unpacking turn it.
//
// Constant time: instructions and addresses depend on the count of blocks only. Every
// exit clears all registers and the states on the stack.

// The state's words in a shaState: F E B A H G D C.
var shaOrder = []int{5, 4, 1, 0, 7, 6, 3, 2}

func sha8File() []string {
	var k []byte
	for _, w := range shaConstants() {
		k = append(k, byte(w), byte(w>>8), byte(w>>16), byte(w>>24))
	}
	return append(cat(bytesData("shaK", k), data("swap32x2", 0x0405060700010203, 0x0c0d0e0f08090a0b, 0x0405060700010203, 0x0c0d0e0f08090a0b)), sha8()...)
}

// turn4 turns the rows in regs, which hold rows r and r+4 each, into columns in to: words 0 to 3 of
// all eight. tmp are four scratch registers.
func turn4(regs, tmp, to []int) []string {
	a, b, c, d := regs[0], regs[1], regs[2], regs[3]
	return []string{
		f("VPUNPCKLDQ Y%d, Y%d, Y%d", b, a, tmp[0]), f("VPUNPCKHDQ Y%d, Y%d, Y%d", b, a, tmp[1]),
		f("VPUNPCKLDQ Y%d, Y%d, Y%d", d, c, tmp[2]), f("VPUNPCKHDQ Y%d, Y%d, Y%d", d, c, tmp[3]),
		f("VPUNPCKLQDQ Y%d, Y%d, Y%d", tmp[2], tmp[0], to[0]), f("VPUNPCKHQDQ Y%d, Y%d, Y%d", tmp[2], tmp[0], to[1]),
		f("VPUNPCKLQDQ Y%d, Y%d, Y%d", tmp[3], tmp[1], to[2]), f("VPUNPCKHQDQ Y%d, Y%d, Y%d", tmp[3], tmp[1], to[3]),
	}
}

var sha8Lanes = []string{"SI", "DI", "R8", "R9", "R10", "R11", "R12", "R13"}

// sha8States brings the states that lie off bytes behind eight pointers to Y0-Y7; ptr gets
// the pointer of a lane to BX.
func sha8States(ptr func(lane int) string, off int) (o []string) {
	for half := range 2 {
		var rows []int
		for r := range 4 {
			x := 16 + r
			o = append(o, ptr(r), f("VMOVDQU64 %d(BX), X%d", off+16*half, x), ptr(r+4), f("VINSERTI64X2 $1, %d(BX), Y%d, Y%d", off+16*half, x, x))
			rows = append(rows, x)
		}
		o = append(o, turn4(rows, []int{20, 21, 22, 23}, shaOrder[4*half:][:4])...)
	}
	return o
}

// sha8Words brings the words of a block to Y16-Y31; at is where a lane's message lies.
func sha8Words(at func(lane, off int) string, swap bool) (o []string) {
	for q := range 4 {
		var to []int
		for r := range 4 {
			o = append(o, f("VMOVDQU64 %s, X%d", at(r, 16*q), 8+r), f("VINSERTI64X2 $1, %s, Y%d, Y%d", at(r+4, 16*q), 8+r, 8+r))
			to = append(to, 16+4*q+r)
		}
		o = append(o, turn4([]int{8, 9, 10, 11}, []int{12, 13, 14, 15}, to)...)
		for _, w := range to {
			if swap {
				o = append(o, f("VPSHUFB swap32x2<>(SB), Y%d, Y%d", w, w))
			}
		}
	}
	return o
}

// sha8Schedule makes the word of round i of those before it.
func sha8Schedule(i int) []string {
	w := func(j int) int { return 16 + (i+j)%16 }
	sigma := func(src, r1, r2, shift, to int) []string {
		return []string{f("VPRORD $%d, Y%d, Y13", r1, src), f("VPRORD $%d, Y%d, Y14", r2, src), f("VPSRLD $%d, Y%d, Y15", shift, src),
			"VPTERNLOGD $0x96, Y13, Y14, Y15", f("VPADDD Y15, Y%d, Y%d", to, to)}
	}
	o := append([]string{f("VPADDD Y%d, Y%d, Y%d", w(9), w(0), w(0))}, sigma(w(1), 7, 18, 3, w(0))...)
	return append(o, sigma(w(14), 17, 19, 10, w(0))...)
}

func sha8() []string {
	const frame = 8*32 + 32
	o := text(`func shaBlocks8(lanes *[8]shaLane, n int)
		n > 0 blocks of each message.`, "shaBlocks8", frame, 16)
	o = append(o, "MOVQ lanes+0(FP), DX", "LEAQ shaK<>(SB), AX")
	o = append(o, sha8States(func(lane int) string { return f("MOVQ %d(DX), BX", 16*lane) }, 0)...)
	for i, p := range sha8Lanes {
		o = append(o, f("MOVQ %d(DX), %s", 16*i+8, p))
	}
	o = append(o, "MOVQ n+8(FP), CX", "SHLQ $6, CX", "XORL BX, BX", "block:")
	for i := range 8 {
		o = append(o, f("VMOVDQU64 Y%d, state-%d(SP)", i, 32*(8-i)))
	}
	o = append(o, sha8Words(func(lane, off int) string { return f("%d(%s)(BX*1)", off, sha8Lanes[lane]) }, true)...)
	o = append(o, sha8Rounds()...)
	for i := range 8 {
		o = append(o, f("VPADDD state-%d(SP), Y%d, Y%d", 32*(8-i), i, i))
	}
	o = append(o, "ADDQ $64, BX", "CMPQ BX, CX", "JNE block")
	for half := range 2 {
		o = append(o, turn4(shaOrder[4*half:][:4], []int{20, 21, 22, 23}, []int{16, 17, 18, 19})...)
		for r := range 4 {
			o = append(o, f("MOVQ %d(DX), R14", 16*r), f("VMOVDQU64 X%d, %d(R14)", 16+r, 16*half), f("MOVQ %d(DX), R14", 16*(r+4)), f("VEXTRACTI64X2 $1, Y%d, %d(R14)", 16+r, 16*half))
		}
	}
	o = append(o, "VPXORQ Y16, Y16, Y16")
	for i := range 8 {
		o = append(o, f("VMOVDQU64 Y16, state-%d(SP)", 32*(8-i)))
	}
	o = append(o, wipe()...)
	return append(o, "RET", "")
}

// sha8Rounds is one block of eight messages, but for adding the states in front of it.
func sha8Rounds() (o []string) {
	for i := range 64 {
		v := func(j int) int { return (j + 64 - i) % 8 } // a … h
		a, b, c, d, e, g, h := v(0), v(1), v(2), v(3), v(4), v(6), v(7)
		if i >= 16 {
			o = append(o, sha8Schedule(i)...)
		}
		o = append(o, f("VPADDD.BCST %d(AX), Y%d, Y8", 4*i, 16+i%16), f("VPADDD Y8, Y%d, Y%d", h, h),
			f("VPRORD $6, Y%d, Y9", e), f("VPRORD $11, Y%d, Y10", e), f("VPRORD $25, Y%d, Y11", e), "VPTERNLOGD $0x96, Y9, Y10, Y11",
			f("VMOVDQA Y%d, Y12", e), f("VPTERNLOGD $0xca, Y%d, Y%d, Y12", g, v(5)), f("VPADDD Y12, Y%d, Y%d", h, h), f("VPADDD Y11, Y%d, Y%d", h, h),
			f("VPADDD Y%d, Y%d, Y%d", h, d, d),
			f("VPRORD $2, Y%d, Y9", a), f("VPRORD $13, Y%d, Y10", a), f("VPRORD $22, Y%d, Y11", a), "VPTERNLOGD $0x96, Y9, Y10, Y11",
			f("VMOVDQA Y%d, Y12", a), f("VPTERNLOGD $0xe8, Y%d, Y%d, Y12", c, b), f("VPADDD Y12, Y%d, Y%d", h, h), f("VPADDD Y11, Y%d, Y%d", h, h))
	}
	return o
}
