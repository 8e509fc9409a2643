package main

// AES-XTS (IEEE 1619) of whole blocks on 512-bit registers. Bound by the AES
// unit: 10 or 14 VAESENC, two a cycle, for 64 bytes.
//
// Registers: AX key (offsets below), DI dst, SI src, R11 bytes left, Z0-Z7
// blocks, Z8-Z15 their tweaks, Z16 first, Z17 current, Z18 last round key,
// Z20-Z27 last round key XOR tweak, Z28 Z29 scratch, Z31 the polynomial 0x87 in
// the low half of each lane; R12, R13, K2 as lastVector says.
//
// Tweaks: multiplying by x^s (s < 64) shifts both halves of a block left by s,
// moves the low half's carry up, and folds the high half's carry times 0x87 into
// the low half: five instructions for four blocks, with s per lane or the same
// for all. A vector's tweak is the first vector's times x^(4i); a turn of eight
// vectors advances every tweak by x^32, independently of the others.

// Offsets in xtsKey.
const (
	offEnc   = 0
	offDec   = 256
	offTweak = 512
)

func xts512File() []string {
	o := cat(
		data("shift0123", 0, 0, 1, 1, 2, 2, 3, 3),
		data("carry0123", 64, 64, 63, 63, 62, 62, 61, 61),
		data("poly87", 0x87, 0),
	)
	for _, nr := range []int{10, 14} {
		o = append(o, xts512(nr, true)...)
		o = append(o, xts512(nr, false)...)
	}
	return o
}

// times puts tweak src times x^s into dst, which may be src.
func times(src, dst, s int) []string {
	return []string{
		f("VPSRLQ $%d, Z%d, Z28", 64-s, src), f("VPSLLQ $%d, Z%d, Z%d", s, src, dst),
		"VPCLMULQDQ $0x01, Z31, Z28, Z29", "VPSLLDQ $8, Z28, Z28", f("VPTERNLOGQ $0x96, Z28, Z29, Z%d", dst),
	}
}

// times32 is times for x^32, where the shifts are whole bytes: the carry, four bytes, comes
// down by one shift. One instruction less is 3 % of the loop, which has 3.4 of them for
// the four vector units in each cycle.
func times32(t int) []string {
	return []string{f("VPSRLDQ $12, Z%d, Z28", t), f("VPSLLDQ $4, Z%d, Z%d", t, t), "VPCLMULQDQ $0x00, Z31, Z28, Z29", f("VPXORQ Z29, Z%d, Z%d", t, t)}
}

func xts512(nr int, enc bool) []string {
	dir, op, off := "Encrypt", "VAESENC", offEnc
	if !enc {
		dir, op, off = "Decrypt", "VAESDEC", offDec
	}
	name := f("xts%s%dAVX512", dir, bits(nr))
	o := text(f(`func %s(k *xtsKey, dst, src *byte, n int, hi, lo uint64, tweak *[16]byte)
		AES-%d-XTS over n bytes, a positive multiple of 16. With tweak nil the first block's tweak
		is E_K2(nonce || 0); else it is there, and what follows the last block's is put in its place.`, name, bits(nr)), name, 128, 56)
	o = append(o, loadArgs()...)
	o = append(o, "VBROADCASTI32X4 poly87<>(SB), Z31", "MOVQ tweak+48(FP), BX", "TESTQ BX, BX", "JNZ given",
		"BSWAPQ R8", "BSWAPQ R9", "VMOVQ R8, X8", "VPINSRQ $1, R9, X8, X8", f("VPXOR %d(AX), X8, X8", offTweak))
	for r := 1; r < nr; r++ {
		o = append(o, f("VAESENC %d(AX), X8, X8", offTweak+16*r))
	}
	o = append(o, f("VAESENCLAST %d(AX), X8, X8", offTweak+16*nr),
		"ready:", f("VBROADCASTI32X4 %d(AX), Z16", off), f("VBROADCASTI32X4 %d(AX), Z18", off+16*nr),
		// lanes times 1, x, x^2, x^3
		"VSHUFI64X2 $0, Z8, Z8, Z8", "VPSRLVQ carry0123<>(SB), Z8, Z28", "VPSLLVQ shift0123<>(SB), Z8, Z8",
		"VPCLMULQDQ $0x01, Z31, Z28, Z29", "VPSLLDQ $8, Z28, Z28", "VPTERNLOGQ $0x96, Z28, Z29, Z8",
		"CMPQ R11, $512", "JLS small")
	for i := 1; i < 8; i++ {
		o = append(o, times(8, 8+i, 4*i)...)
	}
	whiten := func(i int) []string {
		return []string{f("VPTERNLOGQ $0x96, Z%d, Z16, Z%d", 8+i, i), f("VPXORQ Z%d, Z18, Z%d", 8+i, 20+i)}
	}
	rounds := func(n int) []string {
		var o []string
		for r := 1; r < nr; r++ {
			o = append(o, f("VBROADCASTI32X4 %d(AX), Z17", off+16*r))
			for i := 0; i < n; i++ {
				o = append(o, f("%s Z17, Z%d, Z%d", op, i, i))
			}
		}
		return o
	}
	vector := func(i int) []string { return []string{f("VMOVDQU64 %d(SI), Z%d", 64*i, i)} }
	store := func(i int) []string {
		return []string{f("%sLAST Z%d, Z%d, Z%d", op, 20+i, i, i), f("VMOVDQU64 Z%d, %d(DI)", i, 64*i)}
	}
	var next []string
	o = append(o, "turn:")
	for i := 0; i < 8; i++ {
		o = append(o, vector(i)...)
		o = append(o, whiten(i)...)
		next = append(next, times32(8+i)...)
	}
	o = append(o, merge(rounds(8), next)...)
	for i := 0; i < 8; i++ {
		o = append(o, store(i)...)
	}
	o = append(o, "ADDQ $512, SI", "ADDQ $512, DI", "SUBQ $512, R11", "CMPQ R11, $512", "JHI turn", "small:")
	o = append(o, lastVector()...)
	for n := 8; n > 0; n-- {
		o = append(o, f("v%d:", n))
		for i := 1; i < n; i++ {
			o = append(o, times(8, 8+i, 4*i)...)
		}
		for i := 0; i < n; i++ {
			if i < n-1 {
				o = append(o, vector(i)...)
			} else {
				o = append(o, f("VMOVDQU8.Z (R12), K2, Z%d", i))
			}
			o = append(o, whiten(i)...)
		}
		o = append(o, rounds(n)...)
		for i := 0; i < n-1; i++ {
			o = append(o, store(i)...)
		}
		o = append(o, f("%sLAST Z%d, Z%d, Z%d", op, 19+n, n-1, n-1), f("VMOVDQU8 Z%d, K2, (R13)", n-1))
		if n > 1 {
			o = append(o, f("VMOVDQA64 Z%d, Z8", 7+n), "JMP finish")
		}
	}
	// Z8 is the last vector's tweaks
	o = append(o, "finish:", "MOVQ tweak+48(FP), DX", "TESTQ DX, DX", "JNZ give", "gave:")
	o = append(o, leave()...)
	o = append(o, "given:", "VMOVDQU (BX), X8", "JMP ready", "give:")
	o = append(o, times(8, 8, 1)...)
	o = append(o, "LEAQ -1(R11), CX", "ANDQ $48, CX", "VMOVDQU64 Z8, tweaks-128(SP)", "LEAQ tweaks-128(SP), BX", "VMOVDQU (BX)(CX*1), X8", "VMOVDQU X8, (DX)",
		"VPXOR X8, X8, X8", "VMOVDQU64 Z8, (BX)", "JMP gave")
	o = append(o, bounces()...)
	return append(o, "")
}
