package main

// AES-XTS (IEEE 1619) of whole blocks on 256-bit registers, for CPUs with VAES but without
// AVX-512. Bound by the AES unit where a turn has eight vectors in flight; what is left
// goes two blocks at a time, and those of one frame overlap by themselves.
//
// Registers: AX key (offsets as in xts512.go), DI dst, SI src, R11 bytes left, Y0-Y7 blocks, Y8 Y9
// scratch, Y10 the polynomial 0x87 in the low half of each lane, Y11 round key, Y12 tweaks of the next
// two blocks, Y13 first and Y14 last round key. The tweaks of a turn's vectors lie on the
// stack; a turn advances each by x^16, where all shifts are whole bytes.
//
// Constant time: instructions and addresses depend on lengths and pointers only. Every exit
// clears all registers and the tweaks.

func xts256File() []string {
	o := data("poly87x2", 0x87, 0, 0x87, 0)
	for _, nr := range []int{10, 14} {
		o = append(o, xts256(nr, true)...)
		o = append(o, xts256(nr, false)...)
	}
	return o
}

// times256 puts tweaks src times x^s (s < 64) into dst, which may be src: see xts512.go.
func times256(src, dst, s int) []string {
	return []string{
		f("VPSRLQ $%d, Y%d, Y8", 64-s, src), f("VPSLLQ $%d, Y%d, Y%d", s, src, dst),
		"VPCLMULQDQ $0x01, Y10, Y8, Y9", "VPSLLDQ $8, Y8, Y8", f("VPXOR Y8, Y%d, Y%d", dst, dst), f("VPXOR Y9, Y%d, Y%d", dst, dst),
	}
}

func xts256(nr int, enc bool) []string {
	dir, op, off := "Encrypt", "VAESENC", offEnc
	if !enc {
		dir, op, off = "Decrypt", "VAESDEC", offDec
	}
	name := f("xts%s%dAVX2", dir, bits(nr))
	const frame = 8 * 32
	slot := func(i int) string { return f("tweaks-%d(SP)", frame-32*i) }
	o := text(f(`func %s(k *xtsKey, dst, src *byte, n int, hi, lo uint64, tweak *[16]byte)
		AES-%d-XTS over n bytes, a positive multiple of 16. With tweak nil the first block's tweak
		is E_K2(nonce || 0); else it is there, and what follows the last block's is put in its place.`, name, bits(nr)), name, frame, 56)
	o = append(o, loadArgs()...)
	o = append(o, "VMOVDQU poly87x2<>(SB), Y10", "MOVQ tweak+48(FP), BX", "TESTQ BX, BX", "JNZ given",
		"BSWAPQ R8", "BSWAPQ R9", "VMOVQ R8, X12", "VPINSRQ $1, R9, X12, X12", f("VPXOR %d(AX), X12, X12", offTweak))
	for r := 1; r < nr; r++ {
		o = append(o, f("VAESENC %d(AX), X12, X12", offTweak+16*r))
	}
	o = append(o, f("VAESENCLAST %d(AX), X12, X12", offTweak+16*nr), "JMP ready", "given:", "VMOVDQU (BX), X12",
		"ready:", f("VBROADCASTI128 %d(AX), Y13", off), f("VBROADCASTI128 %d(AX), Y14", off+16*nr))
	// the second block's: X12 times x
	o = append(o, times256(12, 0, 1)...)
	o = append(o, "VINSERTI128 $1, X0, Y12, Y12", "CMPQ R11, $256", "JLT two")
	o = append(o, "VMOVDQU Y12, "+slot(0))
	for i := 1; i < 8; i++ {
		o = append(o, times256(12, 0, 2*i)...)
		o = append(o, f("VMOVDQU Y0, %s", slot(i)))
	}
	rounds := func(n int) []string {
		var o []string
		for r := 1; r < nr; r++ {
			o = append(o, f("VBROADCASTI128 %d(AX), Y11", off+16*r))
			for i := range n {
				o = append(o, f("%s Y11, Y%d, Y%d", op, i, i))
			}
		}
		return o
	}
	o = append(o, "turn:")
	for i := range 8 {
		o = append(o, f("VPXOR %d(SI), Y13, Y%d", 32*i, i), f("VPXOR %s, Y%d, Y%d", slot(i), i, i))
	}
	o = append(o, rounds(8)...)
	for i := range 8 {
		o = append(o, f("VMOVDQU %s, Y11", slot(i)), "VPXOR Y14, Y11, Y8", f("%sLAST Y8, Y%d, Y%d", op, i, i), f("VMOVDQU Y%d, %d(DI)", i, 32*i),
			"VPSRLDQ $14, Y11, Y8", "VPSLLDQ $2, Y11, Y11", "VPCLMULQDQ $0x00, Y10, Y8, Y9", "VPXOR Y9, Y11, Y11", f("VMOVDQU Y11, %s", slot(i)))
	}
	o = append(o, "ADDQ $256, SI", "ADDQ $256, DI", "SUBQ $256, R11", "CMPQ R11, $256", "JGE turn", "VMOVDQU "+slot(0)+", Y12")
	o = append(o, "two:", "CMPQ R11, $32", "JLT one", "VPXOR (SI), Y13, Y0", "VPXOR Y12, Y0, Y0")
	o = append(o, rounds(1)...)
	o = append(o, "VPXOR Y14, Y12, Y8", f("%sLAST Y8, Y0, Y0", op), "VMOVDQU Y0, (DI)")
	o = append(o, times256(12, 12, 2)...)
	o = append(o, "ADDQ $32, SI", "ADDQ $32, DI", "SUBQ $32, R11", "JMP two",
		"one:", "TESTQ R11, R11", "JEQ finish", "VPXOR (SI), X13, X0", "VPXOR X12, X0, X0")
	for r := 1; r < nr; r++ {
		o = append(o, f("%s %d(AX), X0, X0", op, off+16*r))
	}
	o = append(o, "VPXOR X14, X12, X8", f("%sLAST X8, X0, X0", op), "VMOVDQU X0, (DI)", "VEXTRACTI128 $1, Y12, X12",
		"finish:", "MOVQ tweak+48(FP), DX", "TESTQ DX, DX", "JEQ gave", "VMOVDQU X12, (DX)", "gave:", "VPXOR Y0, Y0, Y0")
	for i := range 8 {
		o = append(o, "VMOVDQU Y0, "+slot(i))
	}
	o = append(o, wipe256()...)
	return append(o, "RET", "")
}
